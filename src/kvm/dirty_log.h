// SPDX-License-Identifier: Apache-2.0
// Which frames of a memslot were written since the VMM last asked. KVM API: "KVM_GET_DIRTY_LOG".
#pragma once

#include <atomic>
#include <memory>

#include "base/bits.h"

namespace seamless::kvm {

// Bits are set while the page tables change (under mmu_lock) and by KVM's own writes, without it.
class DirtyBitmap {
  public:
    DirtyBitmap(u64 npages, bool initially_set);

    void mark(u64 page) { words_[page / 64].fetch_or(bit(page % 64)); }
    [[nodiscard]] u64 peek(u64 word) const { return words_[word].load(); }
    // Clears the bits of `mask` in a word and says which of them were set.
    u64 take(u64 word, u64 mask = ~u64{0}) { return words_[word].fetch_and(~mask) & mask; }
    [[nodiscard]] u64 words() const { return (npages_ + 63) / 64; }

  private:
    u64 npages_;
    std::unique_ptr<std::atomic<u64>[]> words_;
};

} // namespace seamless::kvm
