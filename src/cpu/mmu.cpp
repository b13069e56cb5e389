// SPDX-License-Identifier: Apache-2.0
// Linear addresses to host memory: the TLB first, then the walks; every page of an access is probed before it
// starts.
#include "cpu/mmu.h"

#include <algorithm>
#include <cstring>

namespace seamless::cpu {
namespace {

using paging::GuestWalk;
using paging::PagingMode;
using paging::Translation;
using spec::Vector;

PagingMode paging_mode(const CpuState& s)
{
    if (!s.paging())
        return PagingMode::none;
    if (s.long_mode())
        return s.cr4 & spec::cr4::LA57 ? PagingMode::level5 : PagingMode::level4;
    return s.cr4 & spec::cr4::PAE ? PagingMode::pae : PagingMode::bits32;
}

} // namespace

void Mmu::reload()
{
    paging_.mode = paging_mode(state_);
    paging_.cr3 = state_.cr3;
    paging_.wp = state_.cr0 & spec::cr0::WP;
    paging_.nxe = state_.efer & spec::efer::NXE;
    paging_.smep = state_.cr4 & spec::cr4::SMEP;
    paging_.smap = state_.cr4 & spec::cr4::SMAP;
    paging_.pse = state_.cr4 & spec::cr4::PSE;
    pge_ = (state_.cr4 & spec::cr4::PGE) && paging_.mode != PagingMode::none;
}

bool Mmu::canonical(Gva gva) const
{
    if (!state_.long_mode())
        return true;
    const unsigned width = paging_.mode == PagingMode::level5 ? 57 : 48;
    return sign_extend(gva.value(), width) == gva.value();
}

TlbSet Mmu::current_set() const
{
    if (state_.cpl() == 3)
        return TlbSet::user;
    return paging_.smap && !(state_.rflags & spec::rflags::AC) ? TlbSet::supervisor : TlbSet::supervisor_ac;
}

TlbSet Mmu::set_for(Purpose purpose) const
{
    if (purpose == Purpose::implicit)
        return paging_.smap ? TlbSet::supervisor : TlbSet::supervisor_ac;
    return current_set();
}

Fault Mmu::raise(Vector vector, u32 error_code)
{
    record_.vector = vector;
    record_.error_code = error_code;
    return Fault::exception;
}

Result<Hpa, Fault> Mmu::find(Gva gva, Access access, bool user, bool allow_user, TlbSet set)
{
    const Translation t = cached(gva, access, user, allow_user);
    if (!t.valid())
        return walk(gva, access, user, allow_user, set);
    use(gva, access, user, set, t, false);
    return Hpa(t.host_page() + gva.page_offset());
}

Result<Hpa, Fault> Mmu::walk(Gva gva, Access access, bool user, bool allow_user, TlbSet set)
{
    const GuestWalk guest = paging::walk_guest(paging_, ept_, gva, access, user, allow_user,
                                               {.tables = cached_ ? &table_cache_ : nullptr});
    if (guest.outcome == GuestWalk::Outcome::page_fault) {
        record_.cr2 = gva.value();
        return fail(raise(Vector::PF, guest.error_code));
    }
    if (guest.outcome == GuestWalk::Outcome::ept_fault)
        return fail(port_.ept_fault(guest.ept, guest.gpa, gva, guest.ept_access, false));
    if (guest.outcome == GuestWalk::Outcome::host_fault)
        return fail(port_.host_memory_gone(guest.host));
    const paging::EptWalk ept = paging::walk_ept(ept_, guest.gpa, access);
    if (ept.outcome != paging::EptWalk::Outcome::ok) {
        table_cache_.drop(guest.gpa);
        return fail(port_.ept_fault(ept, guest.gpa, gva, access, true));
    }
    const u64 host_page = mem::without_hkid(ept.hpa.page()).value();
    // A write through an entry whose dirty flag is clear must walk once more.
    const bool dirty = !ept_.accessed_dirty || access == Access::write || (ept.entry & spec::ept::D);
    const Translation t = translation(guest, ept.permissions & (dirty ? ~u64{0} : ~spec::ept::W), host_page);
    if (guest.level > 0) // 4 MiB are two regions: let INVLPG drop more than it must
        large_.add(gva, paging_.mode == PagingMode::bits32 ? 2 : guest.level);
    if (cached_) {
        if (!cache_)
            cache_ = std::make_unique<paging::TranslationCache>();
        cache_->fill(t.has(Translation::global) ? global_space_ : space_, gva, t);
    }
    use(gva, access, user, set, t, true);
    return Hpa(host_page + gva.page_offset());
}

Translation Mmu::translation(const GuestWalk& guest, u64 ept, u64 host_page) const
{
    const auto flag = [](bool is, u64 value) { return is ? value : 0; };
    return Translation(host_page, flag(guest.user, Translation::user) |
                                      flag(guest.writable, Translation::writable) |
                                      flag(guest.executable, Translation::executable) |
                                      flag(guest.dirty, Translation::dirty) |
                                      flag(guest.global && pge_, Translation::global) |
                                      flag(ept & spec::ept::R, Translation::ept_read) |
                                      flag(ept & spec::ept::W, Translation::ept_write) |
                                      flag(ept & spec::ept::X, Translation::ept_execute));
}

void Mmu::use(Gva gva, Access access, bool user, TlbSet set, Translation t, bool walked)
{
    const bool global = t.has(Translation::global);
    if (access == Access::fetch) {
        fetch_[user][(gva.value() >> kPageShift) % kFetchEntries] = {
            .tag = gva.page().value(), .host = t.host_page(), .global = global};
        local_fetches_[user] |= !global;
        port_.page_fetched(t.host_page(), walked);
        return;
    }
    if (access == Access::write)
        port_.page_written(t.host_page());
    else if (!t.has(Translation::ept_read))
        return;
    tlbs_[static_cast<unsigned>(set)].fill(gva, t.host_page(), access == Access::write, global);
}

Result<Hpa, Fault> Mmu::translate(Gva gva, Access access, Purpose purpose)
{
    const TlbSet set = set_for(purpose);
    if (u8* host = tlbs_[static_cast<unsigned>(set)].find(gva, 1, access == Access::write)) [[likely]]
        return mem::hpa_of_ptr(host);
    if (!canonical(gva))
        return fail(raise(purpose == Purpose::stack ? Vector::SS : Vector::GP, 0));
    return find(gva, access, set == TlbSet::user, set == TlbSet::supervisor_ac, set);
}

Result<Hpa, Fault> Mmu::translate_fetch(Gva gva)
{
    const bool user = state_.cpl() == 3;
    const FetchEntry& entry = fetch_[user][(gva.value() >> kPageShift) % kFetchEntries];
    if (entry.tag == gva.page().value()) [[likely]]
        return Hpa(entry.host + gva.page_offset());
    if (!canonical(gva))
        return fail(raise(Vector::GP, 0));
    return find(gva, Access::fetch, user, true, TlbSet::user);
}

Result<void, Fault> Mmu::read(Gva gva, std::span<u8> out, Purpose purpose)
{
    watch(gva, static_cast<unsigned>(out.size()), Access::read);
    while (!out.empty()) {
        const Hpa hpa = TRY(translate(gva, Access::read, purpose));
        const auto piece = out.first(std::min<u64>(out.size(), kPageSize - gva.page_offset()));
        if (!mem::try_copy_from(piece, hpa)) [[unlikely]]
            return fail(port_.host_memory_gone(hpa));
        out = out.subspan(piece.size());
        gva += piece.size();
    }
    return {};
}

Result<void, Fault> Mmu::write(Gva gva, std::span<const u8> in, Purpose purpose)
{
    watch(gva, static_cast<unsigned>(in.size()), Access::write);
    for (u64 at = 0; at < in.size(); at += kPageSize - (gva + at).page_offset())
        TRY(translate(gva + at, Access::write, purpose));
    while (!in.empty()) {
        const Hpa hpa = TRY(translate(gva, Access::write, purpose));
        const auto piece = in.first(std::min<u64>(in.size(), kPageSize - gva.page_offset()));
        if (!mem::try_copy_to(hpa, piece)) [[unlikely]]
            return fail(port_.host_memory_gone(hpa));
        in = in.subspan(piece.size());
        gva += piece.size();
    }
    return {};
}

Result<u64, Fault> Mmu::load_n(Gva gva, unsigned bytes, Purpose purpose)
{
    switch (bytes) {
    case 1:
        return u64{TRY(load<u8>(gva, purpose))};
    case 2:
        return u64{TRY(load<u16>(gva, purpose))};
    case 4:
        return u64{TRY(load<u32>(gva, purpose))};
    default:
        return TRY(load<u64>(gva, purpose));
    }
}

Result<void, Fault> Mmu::store_n(Gva gva, unsigned bytes, u64 value, Purpose purpose)
{
    switch (bytes) {
    case 1:
        return store<u8>(gva, static_cast<u8>(value), purpose);
    case 2:
        return store<u16>(gva, static_cast<u16>(value), purpose);
    case 4:
        return store<u32>(gva, static_cast<u32>(value), purpose);
    default:
        return store<u64>(gva, value, purpose);
    }
}

} // namespace seamless::cpu
