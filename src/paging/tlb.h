// SPDX-License-Identifier: Apache-2.0
// The software TLB of data accesses, in the layout that translated code looks up inline. A tag is minus the
// page's linear address, so that adding it to an address in the page gives the offset, and to any other a
// large number.
#pragma once

#include <array>
#include <bitset>
#include <vector>

#include "base/address.h"

namespace seamless::paging {

struct alignas(32) TlbEntry {
    u64 read_tag;
    u64 write_tag; // valid only while the page may be written without anybody being told
    u64 addend;    // host address of the page
    u64 delta;     // host address minus linear address
};

class Tlb {
  public:
    static constexpr unsigned kIndexBits = 9;
    static constexpr unsigned kEntries = 1u << kIndexBits;
    static constexpr unsigned kRegionShift = 21;

    Tlb() { flush_all(); }

    // No address whose index is `i` hits this tag, nor comes within a page of it: a lookup may add the
    // access's size.
    [[nodiscard]] static constexpr u64 invalid_tag(unsigned i)
    {
        return -(u64{i ^ kEntries / 2} << kPageShift);
    }
    [[nodiscard]] static constexpr unsigned index(Gva gva)
    {
        return (gva.value() >> kPageShift) & (kEntries - 1);
    }

    // Host address of `size` bytes at `gva`, or nullptr: a miss, or an access that leaves the page.
    [[nodiscard]] u8* find(Gva gva, unsigned size, bool write) const
    {
        const TlbEntry& entry = entries_[index(gva)];
        const u64 offset = gva.value() + (write ? entry.write_tag : entry.read_tag);
        return offset <= kPageSize - size ? reinterpret_cast<u8*>(entry.addend + offset) : nullptr;
    }

    void fill(Gva gva, u64 host_page, bool write, bool global)
    {
        const unsigned i = index(gva);
        TlbEntry& entry = entries_[i];
        const u64 tag = -gva.page().value();
        if (!listed_[i])
            filled_.push_back(static_cast<u16>(i));
        listed_[i] = true;
        if (write || entry.read_tag != tag)
            entry.write_tag = write ? tag : invalid_tag(i);
        entry.read_tag = tag;
        entry.addend = host_page;
        entry.delta = host_page - gva.page().value();
        global_[i] = global;
    }

    void flush(Gva gva) { clear(index(gva)); }
    // All of one aligned region of 2 MiB.
    void flush_region(Gva gva)
    {
        for (const u16 i : filled_)
            if ((-entries_[i].read_tag ^ gva.value()) >> kRegionShift == 0)
                clear(i);
    }
    // All but what is global.
    void flush_local()
    {
        std::erase_if(filled_, [this](u16 i) {
            if (global_[i])
                return false;
            clear(i);
            listed_[i] = false;
            return true;
        });
    }

    // Only what was filled since the last flush is touched.
    void flush()
    {
        for (const u16 i : filled_)
            clear(i);
        filled_.clear();
        listed_.reset();
    }

    // Withdraws the right to write to the page at `host_page` unnoticed.
    void revoke_write(u64 host_page)
    {
        for (const u16 i : filled_)
            if (entries_[i].addend == host_page)
                entries_[i].write_tag = invalid_tag(i);
    }

    [[nodiscard]] const std::array<TlbEntry, kEntries>& entries() const { return entries_; }

  private:
    void clear(unsigned i) { entries_[i].read_tag = entries_[i].write_tag = invalid_tag(i); }
    void flush_all()
    {
        for (unsigned i = 0; i < kEntries; ++i)
            clear(i);
    }

    std::array<TlbEntry, kEntries> entries_; // first: translated code knows its place
    std::vector<u16> filled_;                // entries that may be valid
    std::bitset<kEntries> listed_;           // those in filled_
    std::bitset<kEntries> global_;
};

} // namespace seamless::paging
