// SPDX-License-Identifier: Apache-2.0
// Where parts of large pages may be cached. INVLPG drops the whole page, which TLBs hold in parts of 4 KiB.
// Answers may be "yes" too often, never "no".
#pragma once

#include <bitset>

#include "base/address.h"

namespace seamless::paging {

class LargePages {
  public:
    static constexpr unsigned kRegionShift = 21, kGiantShift = 30;

    // A part of a page of `level` (1 = 2 or 4 MiB, 2 = 1 GiB) is cached.
    void add(Gva gva, unsigned level)
    {
        regions_.set(index(gva, kRegionShift));
        if (level == 2)
            giants_.set(index(gva, kGiantShift));
    }
    // The 2 MiB around `gva` may hold parts of a large page; the 1 GiB around it, of one that is larger.
    [[nodiscard]] bool region(Gva gva) const { return regions_[index(gva, kRegionShift)]; }
    [[nodiscard]] bool giant(Gva gva) const { return giants_[index(gva, kGiantShift)]; }
    void clear()
    {
        regions_.reset();
        giants_.reset();
    }

  private:
    static constexpr unsigned kBits = 4096;
    [[nodiscard]] static unsigned index(Gva gva, unsigned shift) { return (gva.value() >> shift) % kBits; }

    std::bitset<kBits> regions_;
    std::bitset<kBits> giants_;
};

} // namespace seamless::paging
