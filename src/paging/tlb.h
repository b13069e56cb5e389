// SPDX-License-Identifier: Apache-2.0
// The software TLB of data accesses, in the layout that translated code looks up inline. A tag is minus the
// page's linear address, so that adding it to an address in the page gives the offset, and to any other a
// large number. Each index has two entries: the one used last, and the one that it drove out. Translated code
// exchanges them where it finds what it wants in the second.
#pragma once

#include <array>
#include <bitset>
#include <span>

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
    // Where the arrays are, in bytes from here.
    static constexpr std::size_t kSecond = kEntries * sizeof(TlbEntry);
    static constexpr std::size_t kFirstGlobal = 2 * kSecond;
    static constexpr std::size_t kSecondGlobal = kFirstGlobal + kEntries * sizeof(u64);

    // To be called once, first: until then none of the arrays takes memory.
    void prepare()
    {
        for (unsigned i = 0; i < kEntries; ++i)
            clear(i);
    }

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
        const unsigned i = index(gva);
        for (const TlbEntry* entry : {&first_[i], &second_[i]}) {
            const u64 offset = gva.value() + (write ? entry->write_tag : entry->read_tag);
            if (offset <= kPageSize - size)
                return reinterpret_cast<u8*>(entry->addend + offset);
        }
        return nullptr;
    }

    void fill(Gva gva, u64 host_page, bool write, bool global)
    {
        const unsigned i = index(gva);
        TlbEntry& entry = first_[i];
        const u64 tag = -gva.page().value();
        if (!listed_[i])
            filled_[filled_count_++] = static_cast<u16>(i);
        listed_[i] = true;
        if (entry.read_tag != tag) {
            second_[i] = entry;
            second_global_[i] = first_global_[i];
            entry.write_tag = invalid_tag(i);
        }
        if (write)
            entry.write_tag = tag;
        entry.read_tag = tag;
        entry.addend = host_page;
        entry.delta = host_page - gva.page().value();
        first_global_[i] = global;
    }

    void flush(Gva gva) { clear(index(gva)); }
    // All of one aligned region of 2 MiB.
    void flush_region(Gva gva)
    {
        for (const u16 i : filled())
            for (TlbEntry* entry : {&first_[i], &second_[i]})
                if ((-entry->read_tag ^ gva.value()) >> kRegionShift == 0)
                    clear(*entry, i);
    }
    // All but what is global.
    void flush_local()
    {
        unsigned stay = 0;
        for (const u16 i : filled()) {
            if (!second_global_[i])
                clear(second_[i], i);
            if (!first_global_[i]) { // what stays is found first again
                first_[i] = second_[i];
                first_global_[i] = second_global_[i];
                clear(second_[i], i);
            }
            listed_[i] = first_global_[i];
            if (listed_[i])
                filled_[stay++] = i;
        }
        filled_count_ = stay;
    }

    // Only what was filled since the last flush is touched.
    void flush()
    {
        for (const u16 i : filled())
            clear(i);
        filled_count_ = 0;
        listed_.reset();
    }

    // Withdraws the right to write to the page at `host_page` unnoticed.
    void revoke_write(u64 host_page)
    {
        for (const u16 i : filled())
            for (TlbEntry* entry : {&first_[i], &second_[i]})
                if (entry->addend == host_page)
                    entry->write_tag = invalid_tag(i);
    }

  private:
    [[nodiscard]] std::span<const u16> filled() const { return {filled_.data(), filled_count_}; }
    static void clear(TlbEntry& entry, unsigned i) { entry.read_tag = entry.write_tag = invalid_tag(i); }
    void clear(unsigned i)
    {
        clear(first_[i], i);
        clear(second_[i], i);
    }

    std::array<TlbEntry, kEntries> first_; // these four first: translated code knows their places
    std::array<TlbEntry, kEntries> second_;
    std::array<u64, kEntries> first_global_; // 1 or 0
    std::array<u64, kEntries> second_global_;
    std::array<u16, kEntries> filled_; // indexes whose entries may be valid: the first filled_count_
    unsigned filled_count_ = 0;
    std::bitset<kEntries> listed_; // those in filled_
};

} // namespace seamless::paging
