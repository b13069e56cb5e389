// SPDX-License-Identifier: Apache-2.0
// Where indirect and cross-page jumps go: linear address to translated block, looked up inline. Valid for one
// address space and one mode; what drops translations of its pages drops them here as well.
#pragma once

#include <array>
#include <bitset>
#include <vector>

#include "base/address.h"

namespace seamless::cpu {

class JumpCache {
  public:
    struct alignas(16) Entry {
        u64 tag;  // minus the linear address, or empty_tag()
        u64 host; // of the entry from another page
    };
    static constexpr unsigned kIndexBits = 12;
    // The address bits that make the index: the lowest, which differ most.
    static constexpr u64 kMask = bits(kIndexBits, 1);

    [[nodiscard]] static constexpr unsigned index(u64 gva)
    {
        return static_cast<unsigned>(field(gva, kIndexBits, 1));
    }

    JumpCache() { entries_[0].tag = empty_tag(0); }

    void fill(u64 gva, u64 host)
    {
        const unsigned i = index(gva);
        entries_[i] = {.tag = -gva, .host = host};
        pages_[page_bit(gva >> kPageShift)] = true;
        filled_.push_back(static_cast<u16>(i));
        if (filled_.size() > 2 * entries_.size())
            compact();
    }

    void flush()
    {
        for (const u16 i : filled_)
            entries_[i].tag = empty_tag(i);
        filled_.clear();
        pages_.reset();
    }

    // What is on the page of `gva`, and the one before it: a block may begin there and end here.
    void flush_page(u64 gva)
    {
        const u64 page = gva >> kPageShift;
        if (!pages_[page_bit(page)] && !pages_[page_bit(page - 1)]) [[likely]]
            return;
        for (const u16 i : filled_)
            if (const u64 at = -entries_[i].tag >> kPageShift; at == page || at == page - 1)
                entries_[i].tag = empty_tag(i);
    }

  private:
    // What no address with index `i` is minus of. Nearly all are 0, so that an unused cache costs no memory.
    [[nodiscard]] static constexpr u64 empty_tag(unsigned i) { return i == 0 ? -u64{2} : 0; }

    static constexpr unsigned kPageBits = 1024;
    [[nodiscard]] static constexpr unsigned page_bit(u64 page) { return page % kPageBits; }

    void compact()
    {
        filled_.clear();
        for (unsigned i = 0; i < entries_.size(); ++i)
            if (entries_[i].tag != empty_tag(i))
                filled_.push_back(static_cast<u16>(i));
    }

    std::array<Entry, 1u << kIndexBits> entries_{}; // first: translated code knows its place
    std::vector<u16> filled_;
    std::bitset<kPageBits> pages_; // that may have entries
};

} // namespace seamless::cpu
