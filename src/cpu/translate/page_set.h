// SPDX-License-Identifier: Apache-2.0
// A set of pages that is emptied often and asked all the time, about pages that are mostly not in it.
#pragma once

#include <array>

#include "base/address.h"

namespace seamless::cpu {

// Page numbers: addresses without their lowest 12 bits. What does not fit makes every page a member.
class PageSet {
    static constexpr unsigned kStampShift = 64 - kPageShift;
    static constexpr u64 kPage = bits(kStampShift - 1, 0);

  public:
    static constexpr unsigned kMost = 4096;

    [[nodiscard]] static constexpr u64 before(u64 page) { return (page - 1) & kPage; }

    // To be called once, first: until then the set takes no memory.
    void prepare()
    {
        slots_.fill(0);
        stamp_ = 1;
        count_ = 0;
    }

    void insert(u64 page)
    {
        if (count_ == kMost || contains(page))
            return;
        ++count_;
        u64 at = first(page);
        while (is_used(slots_[at]))
            at = (at + 1) % kSlots;
        slots_[at] = page | stamp_ << kStampShift;
    }

    [[nodiscard]] bool contains(u64 page) const
    {
        if (count_ == kMost) [[unlikely]]
            return true;
        for (u64 at = first(page); is_used(slots_[at]); at = (at + 1) % kSlots)
            if ((slots_[at] & kPage) == page)
                return true;
        return false;
    }

    void clear()
    {
        count_ = 0;
        if (++stamp_ > kLastStamp)
            prepare();
    }

  private:
    static constexpr unsigned kSlots = 2 * kMost;
    static constexpr u64 kLastStamp = bits(kPageShift - 1, 0);

    [[nodiscard]] static u64 first(u64 page) { return page * 0x9e3779b97f4a7c15 >> 51; }
    // Slots of an older stamp are free.
    [[nodiscard]] bool is_used(u64 slot) const { return slot >> kStampShift == stamp_; }

    std::array<u64, kSlots> slots_;
    u64 stamp_;
    unsigned count_;
    static_assert(kSlots == 1u << (64 - 51));
};

} // namespace seamless::cpu
