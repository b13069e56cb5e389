// SPDX-License-Identifier: Apache-2.0
// What ends a translation. The inline TLBs hold one address space; the translation cache several, and there a
// space is dropped by giving it a new number.
#include "cpu/mmu.h"

#include <algorithm>
#include <utility>

namespace seamless::cpu {

using paging::TranslationCache;

// A number that nothing in the cache has.
u32 Mmu::new_space()
{
    if (++last_space_ == TranslationCache::kSpaces) {
        if (cache_)
            cache_->flush();
        std::fill(std::begin(spaces_), std::end(spaces_), Space{});
        global_space_ = 1;
        last_space_ = 2;
    }
    return last_space_;
}

void Mmu::flush_fetches()
{
    for (const bool user : {false, true}) {
        std::fill(std::begin(fetch_[user]), std::end(fetch_[user]), FetchEntry{});
        ++generation_[user];
    }
}

void Mmu::revoke_write(u64 host_page)
{
    for (paging::Tlb& tlb : tlbs_)
        tlb.revoke_write(host_page);
}

void Mmu::flush()
{
    for (paging::Tlb& tlb : tlbs_)
        tlb.flush();
    flush_fetches();
    table_cache_.flush();
    large_.clear();
    std::fill(std::begin(spaces_), std::end(spaces_), Space{});
    global_space_ = new_space();
    space_ = new_space();
}

// The supervisor's fetches are mostly of global pages: then its code stays known.
void Mmu::flush_inline_local()
{
    for (paging::Tlb& tlb : tlbs_)
        tlb.flush_local();
    for (const bool user : {false, true}) {
        if (!std::exchange(local_fetches_[user], false))
            continue;
        for (FetchEntry& entry : fetch_[user])
            if (!entry.global)
                entry = {};
        ++generation_[user];
    }
}

void Mmu::flush_local()
{
    flush_inline_local();
    std::fill(std::begin(spaces_), std::end(spaces_), Space{});
    space_ = new_space();
}

void Mmu::cr3_loaded(u16 pcid, bool keep)
{
    flush_inline_local();
    Space* place =
        std::ranges::find_if(spaces_, [&](const Space& s) { return s.number != 0 && s.pcid == pcid; });
    if (place == std::end(spaces_)) {
        place = std::ranges::min_element(spaces_, {}, &Space::used);
        keep = false;
    }
    if (!keep) {
        const u32 number = new_space(); // may empty the table
        *place = {.pcid = pcid, .number = number};
    }
    place->used = ++switches_;
    space_ = place->number;
}

void Mmu::flush_pcid(u16 pcid)
{
    for (Space& space : spaces_)
        if (space.number != 0 && space.pcid == pcid) {
            const bool current = space.number == space_;
            if (current)
                return cr3_loaded(pcid, false);
            space = {};
        }
    if ((state_.cr3 & 0xfff) == pcid || !(state_.cr4 & spec::cr4::PCIDE)) {
        flush_inline_local();
        space_ = new_space();
    }
}

void Mmu::flush_page(Gva gva)
{
    if (large_.giant(gva))
        return flush();
    if (large_.region(gva))
        return drop_region(gva);
    for (paging::Tlb& tlb : tlbs_)
        tlb.flush(gva);
    for (const bool user : {false, true})
        fetch_[user][(gva.value() >> kPageShift) % kFetchEntries] = {};
    port_.fetches_dropped(gva.page());
    if (!cache_)
        return;
    cache_->drop(space_, gva);
    cache_->drop(global_space_, gva);
}

void Mmu::drop_region(Gva gva)
{
    constexpr u64 kPages = u64{1} << (paging::LargePages::kRegionShift - kPageShift);
    for (paging::Tlb& tlb : tlbs_)
        tlb.flush_region(gva);
    flush_fetches();
    if (!cache_)
        return;
    const Gva first(align_down(gva.value(), kPages * kPageSize));
    for (u64 page = 0; page < kPages; ++page)
        for (const u32 space : {space_, global_space_})
            cache_->drop(space, first + page * kPageSize);
}

void Mmu::flush_pcid_page(u16 pcid, Gva gva)
{
    for (const Space& space : spaces_)
        if (space.number != 0 && space.pcid == pcid && space.number != space_)
            return large_.region(gva) ? flush_pcid(pcid) : cache_ ? cache_->drop(space.number, gva) : void();
    if ((state_.cr3 & 0xfff) == pcid || !(state_.cr4 & spec::cr4::PCIDE))
        flush_page(gva);
}

} // namespace seamless::cpu
