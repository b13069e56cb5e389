// SPDX-License-Identifier: Apache-2.0
// Where indirect and cross-page jumps go: linear address to translated block, looked up inline. Valid for one
// address space and one mode; whatever drops translations empties it.
#pragma once

#include <array>
#include <vector>

#include "base/bits.h"

namespace seamless::cpu {

class JumpCache {
  public:
    struct alignas(32) Entry {
        u64 tag; // minus the linear address; 0: empty (no code is at linear address 0 and cached)
        u64 host;
        u64 page_gva; // what Frame::page_gva becomes
        u64 reserved;
    };
    static constexpr unsigned kIndexBits = 10;
    // The address bits that make the index.
    static constexpr u64 kMask = bits(8, 1) | bits(13, 12);

    [[nodiscard]] static constexpr unsigned index(u64 gva)
    {
        return static_cast<unsigned>(field(gva, 8, 1) | field(gva, 13, 12) << 8);
    }

    void fill(u64 gva, const void* host, u64 page_gva)
    {
        if (gva == 0)
            return;
        const unsigned i = index(gva);
        entries_[i] = {.tag = -gva, .host = reinterpret_cast<u64>(host), .page_gva = page_gva, .reserved = 0};
        filled_.push_back(static_cast<u16>(i));
        if (filled_.size() > 4 * entries_.size())
            compact();
    }

    void flush()
    {
        for (const u16 i : filled_)
            entries_[i].tag = 0;
        filled_.clear();
    }

  private:
    void compact()
    {
        filled_.clear();
        for (unsigned i = 0; i < entries_.size(); ++i)
            if (entries_[i].tag != 0)
                filled_.push_back(static_cast<u16>(i));
    }

    std::array<Entry, 1u << kIndexBits> entries_{}; // first: translated code knows its place
    std::vector<u16> filled_;
};

} // namespace seamless::cpu
