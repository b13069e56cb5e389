// SPDX-License-Identifier: Apache-2.0
// Direct jumps and calls to other pages that have been linked: right for one linear address, as long as
// nothing ends the translations of the pages they lead to.
#pragma once

#include "cpu/translate/page_set.h"

namespace seamless::cpu {

// Of one TLB set. A link adds to RIP its bias and the epoch, and is taken if that is 0: the lowest 12 bits of
// RIP are the same each time the link is met, so that an epoch that is over is seen in them, and so are too
// many calls, which add 1.
class FarLinks {
  public:
    static constexpr u64 kEpochs = 2048;

    [[nodiscard]] static constexpr u64 bias(u64 rip, u64 epoch) { return -(rip + epoch); }
    // Never taken, whatever the epoch.
    [[nodiscard]] static constexpr u64 unlinked(u64 rip) { return 1 - (rip & kPageMask); }

    void prepare() { pages_.prepare(); }
    void leads_to(u64 rip) { pages_.insert(rip >> kPageShift); }
    // What is on the page of `gva`, or began on the one before it, may be linked.
    [[nodiscard]] bool may_lead_to(u64 gva) const
    {
        const u64 page = gva >> kPageShift;
        return pages_.contains(page) || pages_.contains(PageSet::before(page));
    }
    void forget() { pages_.clear(); }

  private:
    PageSet pages_;
};

static_assert(kPageSize >= 2 * FarLinks::kEpochs);

} // namespace seamless::cpu
