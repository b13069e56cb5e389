// SPDX-License-Identifier: Apache-2.0
// Where indirect and cross-page jumps go: linear address to translated block, looked up inline. Valid for one
// address space and one mode; what drops translations of its pages drops them here as well.
#pragma once

#include <array>
#include <type_traits>
#include <vector>

#include "cpu/translate/page_set.h"

namespace seamless::cpu {

// SDM: CRC32 with a destination of 0.
[[nodiscard]] constexpr u32 crc32c(u64 value)
{
    if (std::is_constant_evaluated()) {
        for (unsigned i = 0; i < 64; ++i)
            value = value >> 1 ^ (value & 1 ? 0x82f63b78 : 0);
        return static_cast<u32>(value);
    }
    u64 crc = 0;
    __asm__("crc32q %1, %0" : "+r"(crc) : "r"(value));
    return static_cast<u32>(crc);
}

class JumpCache {
  public:
    struct Way {
        u64 tag;  // minus the linear address, or empty_tag()
        u64 host; // of the entry from another page
    };
    // Two addresses that jump to and fro need not drive each other out.
    struct alignas(32) Set {
        Way newest;
        Way older;
    };
    static constexpr unsigned kIndexBits = 12;
    // The bits of the address's CRC that make the index. What pages begin with, and functions, differs in
    // all bits but the lowest.
    static constexpr u64 kMask = bits(kIndexBits - 1, 0);

    [[nodiscard]] static constexpr unsigned index(u64 gva) { return crc32c(gva) & kMask; }

    // To be called once, first: until then the cache takes no memory.
    void prepare()
    {
        for (unsigned i = 0; i < sets_.size(); ++i)
            flush_set(i);
        pages_.prepare();
    }

    void fill(u64 gva, u64 host)
    {
        const unsigned i = index(gva);
        Set& set = sets_[i];
        if (set.newest.tag != -gva)
            set.older = set.newest;
        set.newest = {.tag = -gva, .host = host};
        pages_.insert(gva >> kPageShift);
        filled_.push_back(static_cast<u16>(i));
        if (filled_.size() > 2 * sets_.size())
            compact();
    }

    void flush()
    {
        for (const u16 i : filled_)
            flush_set(i);
        filled_.clear();
        pages_.clear();
    }

    // What is on the page of `gva`, and the one before it: a block may begin there and end here.
    void flush_page(u64 gva)
    {
        const u64 page = gva >> kPageShift;
        const u64 before = PageSet::before(page);
        if (!pages_.contains(page) && !pages_.contains(before)) [[likely]]
            return;
        for (const u16 i : filled_)
            for (Way* way : {&sets_[i].newest, &sets_[i].older})
                if (const u64 at = -way->tag >> kPageShift; at == page || at == before)
                    way->tag = empty_tag(i);
    }

  private:
    // What no address with index `i` is minus of, nor with bit 63 inverted: a request adds that to RIP, which
    // may be any number.
    [[nodiscard]] static constexpr u64 empty_tag(unsigned i)
    {
        constexpr unsigned kOfZero = index(0), kOfRequest = index(bit(63));
        return i == kOfZero || i == kOfRequest ? -u64{2} : 0;
    }
    // No RIP finds an empty way, nor, while a request waits, that of another address.
    [[nodiscard]] static consteval bool is_sound()
    {
        for (const u64 request : {u64{0}, bit(63)})
            for (const u64 tag : {u64{0}, -u64{2}})
                if (empty_tag(index(-tag - request)) == tag)
                    return false;
        return index(bit(63)) != index(0);
    }
    friend struct JumpCacheIsSound;
    void flush_set(unsigned i) { sets_[i].newest.tag = sets_[i].older.tag = empty_tag(i); }

    void compact()
    {
        filled_.clear();
        for (unsigned i = 0; i < sets_.size(); ++i)
            if (sets_[i].newest.tag != empty_tag(i) || sets_[i].older.tag != empty_tag(i))
                filled_.push_back(static_cast<u16>(i));
    }

    std::array<Set, 1u << kIndexBits> sets_; // first: translated code knows its place
    std::vector<u16> filled_;
    PageSet pages_; // that may have entries
};

struct JumpCacheIsSound {
    static_assert(JumpCache::is_sound());
};

} // namespace seamless::cpu
