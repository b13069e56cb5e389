// SPDX-License-Identifier: Apache-2.0
// What pages with translated code held when their blocks were last compared with them: where others than
// guests may have written to code, one comparison of the page then stands for that of all its blocks.
#pragma once

#include <array>
#include <memory>
#include <utility>

#include "base/address.h"
#include "base/bits.h"

namespace seamless::cpu {

class PageImages {
  public:
    // Others may have written to any page.
    void suspect() { ++suspicions_; }
    // Whether somebody ever may have. Until then nothing is worth an image.
    [[nodiscard]] bool suspected() const { return suspicions_ != 0; }

    // Whether `page` holds what it did. Looked at once between two suspicions, unless it must be `again`.
    [[nodiscard]] bool same(u64 page, bool again);
    // Its blocks are about to be compared. True if it has an image now: it has one from the second time on,
    // for most pages run only once.
    [[nodiscard]] bool take(u64 page);
    // Its code is being translated: its blocks may be of later bytes than the image.
    void forget(u64 page);

    // Its code may run from now on without being fetched again.
    void runs(u64 page);
    // Whether all those pages hold what they did. If not, they are to be fetched again, and forgotten here.
    [[nodiscard]] bool all_same();

  private:
    struct Image {
        u64 page = ~u64{0};
        bool taken = false;
        u64 looked = 0; // at which suspicion
        alignas(64) std::array<u8, kPageSize> bytes;
    };
    [[nodiscard]] std::unique_ptr<Image>& place(u64 page)
    {
        return images_[(page >> kPageShift) % images_.size()];
    }

    // Most are never made. They share places by the low bits of the page's number: the last one has it.
    std::array<std::unique_ptr<Image>, 512> images_;
    u64 suspicions_ = 0;
    std::array<u64, 6> running_{};  // more take longer to compare than to fetch again
    std::size_t running_count_ = 0; // one more than there is room for: too many
};

} // namespace seamless::cpu
