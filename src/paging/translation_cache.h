// SPDX-License-Identifier: Apache-2.0
// Complete translations, linear to host, of several address spaces at once: what a change of CR3 takes out of
// the inline TLB comes back from here without a walk. Rights are kept as the tables gave them, and checked at
// each use.
#pragma once

#include <array>
#include <bit>

#include "base/address.h"
#include "paging/ept_walk.h"

namespace seamless::paging {

// One page of 4 KiB, packed: the host page, and flags in the low bits.
class Translation {
  public:
    enum Flag : u64 {
        user = 1,       // U/S in all entries
        writable = 2,   // R/W in all entries
        executable = 4, // XD in none
        dirty = 8,
        global = 16, // with CR4.PGE
        ept_read = 32,
        ept_write = 64,
        ept_execute = 128,
    };

    constexpr Translation() = default;
    constexpr Translation(u64 host_page, u64 flags) : word_(host_page | flags) {}

    [[nodiscard]] constexpr bool valid() const { return word_ != 0; }
    [[nodiscard]] constexpr u64 host_page() const { return word_ & ~kPageMask; }
    [[nodiscard]] constexpr bool has(u64 flags) const { return (word_ & flags) == flags; }

  private:
    u64 word_ = 0;
};

class TranslationCache {
  public:
    static constexpr unsigned kSetBits = 13, kWays = 4, kSpaceBits = 19;
    // Numbers of address spaces. A space is dropped by giving it a new number. What is global is a space too.
    static constexpr u32 kSpaces = 1u << kSpaceBits;

    [[nodiscard]] Translation find(u32 space, Gva gva) const
    {
        const Set& set = set_of(gva);
        const u64 key = key_of(space, gva);
        for (unsigned way = 0; way < kWays; ++way)
            if (set.keys[way] == key)
                return set.values[way];
        return {};
    }

    void fill(u32 space, Gva gva, Translation value)
    {
        Set& set = set_of(gva);
        const u64 key = key_of(space, gva);
        unsigned way = 0;
        while (way < kWays && set.keys[way] != key && set.values[way].valid())
            ++way;
        if (way == kWays)
            way = next_victim_++ % kWays;
        set.keys[way] = key;
        set.values[way] = value;
    }

    void drop(u32 space, Gva gva)
    {
        Set& set = set_of(gva);
        const u64 key = key_of(space, gva);
        for (unsigned way = 0; way < kWays; ++way)
            if (set.keys[way] == key)
                set.values[way] = {};
    }

    void flush() { sets_.fill(Set{}); }

  private:
    struct alignas(64) Set {
        u64 keys[kWays] = {};
        Translation values[kWays];
    };

    [[nodiscard]] static u64 key_of(u32 space, Gva gva)
    {
        return (gva.value() >> kPageShift) << kSpaceBits | space;
    }
    [[nodiscard]] static unsigned index(Gva gva)
    {
        return gva.value() >> kPageShift & ((1u << kSetBits) - 1);
    }
    [[nodiscard]] Set& set_of(Gva gva) { return sets_[index(gva)]; }
    [[nodiscard]] const Set& set_of(Gva gva) const { return sets_[index(gva)]; }

    std::array<Set, 1u << kSetBits> sets_;
    unsigned next_victim_ = 0;
};

} // namespace seamless::paging
