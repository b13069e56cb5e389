// SPDX-License-Identifier: Apache-2.0
// Edits of the tables. All run under mmu_lock; the processors walk meanwhile and set accessed and dirty
// flags, so entries change by atomic exchange.
#include "kvm/mmu/tdp_mmu.h"

#include <algorithm>
#include <bit>

#include "kvm/mmu/mmu.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "kvm/x86_ops/x86_ops.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

namespace {

using namespace spec;

Hpa entry_of(Hpa table, u64 gfn, unsigned level)
{
    return table + u64{ept::index(gfn << kPageShift, level)} * sizeof(u64);
}
Hpa child_of(u64 spte) { return Hpa(spte & ept::ADDRESS); }
u64 exchange(Hpa entry, u64 value)
{
    return __atomic_exchange_n(mem::host_ptr<u64>(entry), value, __ATOMIC_SEQ_CST);
}
constexpr u64 frames_at(unsigned level) { return u64{1} << (9 * level); }

bool is_access_allowed(const PageFault& fault, u64 spte)
{
    if (fault.prefetch)
        return true;
    return (fault.exec ? spte & ept::X : fault.write ? spte & ept::W : spte & ept::R) != 0;
}

// The same page with more permissions: a stale translation faults, and no more than that.
bool only_adds_rights(u64 before, u64 after)
{
    return ((before ^ after) & (ept::ADDRESS | ept::LEAF)) == 0 && (before & ~after & ept::RWX) == 0;
}

} // namespace

TdpMmu::~TdpMmu()
{
    if (direct_root() == Hpa())
        return;
    std::vector<Hpa> tables;
    collect(direct_root(), levels_ - 1, tables);
    for (const Hpa table : tables)
        vm_.memory().free_page(table);
    for (const Hpa table : split_)
        vm_.memory().free_page(table);
}

Result<Hpa, Errno> TdpMmu::alloc_table()
{
    const Hpa table = TRY(vm_.memory().alloc_page());
    std::fill_n(mem::host_ptr<u64>(table), ept::kEntriesPerTable, vm_.shadow_nonpresent_value);
    return table;
}

Result<void, Errno> TdpMmu::make_roots(unsigned levels, bool mirror)
{
    const std::lock_guard guard(lock);
    levels_ = levels;
    if (direct_root() == Hpa())
        direct_.store(TRY(alloc_table()).value());
    if (mirror && mirror_ == Hpa())
        mirror_ = TRY(alloc_table());
    return {};
}

u64 TdpMmu::lookup(Gfn gfn, bool mirror, unsigned* at_level) const
{
    const u64 index = mirror ? gfn.value() : (gfn | vm_.gfn_direct_bits.value()).value();
    Hpa table = mirror ? mirror_ : direct_root();
    for (unsigned level = levels_ - 1;; --level) {
        const u64 spte = mem::load<u64>(entry_of(table, index, level));
        if (at_level)
            *at_level = level;
        if (!is_shadow_present_pte(spte) || is_last_spte(spte, level))
            return spte;
        table = child_of(spte);
    }
}

RetPf TdpMmu::map(PageFault& fault)
{
    const bool mirror = fault.is_private;
    const u64 index = mirror ? fault.gfn.value() : (fault.gfn | vm_.gfn_direct_bits.value()).value();
    Hpa table = mirror ? mirror_ : direct_root();
    for (unsigned level = levels_ - 1;; --level) {
        const Hpa entry = entry_of(table, index, level);
        u64 spte = mem::load<u64>(entry);
        if (level == fault.goal_level ||
            (is_shadow_present_pte(spte) && is_last_spte(spte, level) && is_access_allowed(fault, spte)))
            return set_leaf(fault, entry, spte, level);
        if (!is_shadow_present_pte(spte) || is_last_spte(spte, level)) {
            const RetPf linked = link(fault, entry, spte, level);
            if (linked != RET_PF_CONTINUE)
                return linked;
            spte = mem::load<u64>(entry);
        }
        table = child_of(spte);
    }
}

// Puts an empty table below `entry`. A huge leaf that stood there is dropped: its frames fault again.
RetPf TdpMmu::link(PageFault& fault, Hpa entry, u64 old, unsigned level)
{
    const auto table = alloc_table();
    fault.out_of_memory |= !table.ok();
    if (!table)
        return RET_PF_RETRY;
    if (fault.is_private) {
        const auto external = vm_.memory().alloc_page();
        fault.out_of_memory |= !external.ok();
        if (!external) {
            vm_.memory().free_page(table.value());
            return RET_PF_RETRY;
        }
        const auto linked = vm_.ops.link_external_spt(vm_, fault.gfn, level, external.value());
        if (!linked) {
            vm_.memory().free_page(external.value());
            vm_.memory().free_page(table.value());
            return RET_PF_RETRY;
        }
        external_[table.value().value()] = external.value();
    }
    exchange(entry, make_nonleaf_spte(table.value()));
    if (is_shadow_present_pte(old))
        vm_.flush_remote_tlbs();
    return RET_PF_CONTINUE;
}

RetPf TdpMmu::set_leaf(PageFault& fault, Hpa entry, u64 old, unsigned level)
{
    if (is_shadow_present_pte(old) && is_last_spte(old, level) && fault.slot && is_access_allowed(fault, old))
        return RET_PF_SPURIOUS;
    const bool mmio = fault.slot == nullptr;
    const u64 spte =
        mmio ? make_mmio_spte(fault.gfn, fault.mmio_generation & kMmioGenerationMask, vm_.shadow_mmio_value)
             : make_leaf_spte(Hpa(fault.page.value() & ~(ept::level_size(level) - 1)), level,
                              fault.map_writable, vm_.ignore_guest_pat);
    RetPf result = RET_PF_SPURIOUS;
    if (spte != old) {
        result = RET_PF_FIXED;
        if (fault.is_private && !vm_.ops.set_external_spte(vm_, fault.gfn, level, fault.page))
            return RET_PF_RETRY;
        const u64 before = exchange(entry, spte);
        if (is_shadow_present_pte(before) && !is_last_spte(before, level))
            collect(child_of(before), level - 1, split_);
        if (is_shadow_present_pte(before) && !only_adds_rights(before, spte))
            vm_.flush_remote_tlbs();
    }
    if (fault.slot && fault.slot->dirty && (spte & ept::W))
        fault.slot->dirty->mark(fault.gfn - fault.slot->base);
    if (!mmio)
        return result;
    TRACE(fault.vcpu.trace(), trace::Event::mark_mmio_spte, fault.gfn.value(), spte, 0,
          fault.mmio_generation & kMmioGenerationMask);
    return RET_PF_EMULATE;
}

TlbFlush TdpMmu::zap_leafs(Gfn start, Gfn end, Roots roots)
{
    TlbFlush flush;
    const u64 direct_bits = vm_.gfn_direct_bits.value();
    // A VM without a mirror has one root, whatever the filter says.
    if (direct_root() != Hpa() && (roots != Roots::private_only || mirror_ == Hpa()))
        flush |= zap_table(direct_root(), levels_ - 1, 0, start.value() | direct_bits,
                           end.value() | direct_bits, false);
    if (mirror_ != Hpa() && roots != Roots::shared_only)
        flush |= zap_table(mirror_, levels_ - 1, 0, start.value(), end.value(), true);
    return flush;
}

TlbFlush TdpMmu::zap_table(Hpa table, unsigned level, u64 table_gfn, u64 start, u64 end, bool mirror)
{
    TlbFlush flush;
    const u64 step = frames_at(level);
    const u64 first = start <= table_gfn ? 0 : (start - table_gfn) / step;
    for (u64 i = first; i < ept::kEntriesPerTable && table_gfn + i * step < end; ++i) {
        const Hpa entry = table + i * sizeof(u64);
        const u64 spte = mem::load<u64>(entry);
        const u64 gfn = table_gfn + i * step;
        if (!is_shadow_present_pte(spte))
            continue;
        if (!is_last_spte(spte, level)) {
            flush |= zap_table(child_of(spte), level - 1, gfn, start, end, mirror);
            continue;
        }
        if (mirror && !vm_.ops.remove_external_spte(vm_, Gfn(gfn), level, child_of(spte)))
            continue; // the VM is bugged; its page stays with the TD
        exchange(entry, vm_.shadow_nonpresent_value);
        flush.needed |= !mirror; // a private page was flushed by TRACK
    }
    return flush;
}

TlbFlush TdpMmu::write_protect(Gfn start, Gfn end)
{
    const u64 direct_bits = vm_.gfn_direct_bits.value();
    if (direct_root() == Hpa())
        return {};
    return write_protect_table(direct_root(), levels_ - 1, 0, start.value() | direct_bits,
                               end.value() | direct_bits);
}

TlbFlush TdpMmu::write_protect_masked(Gfn base, u64 mask)
{
    TlbFlush flush;
    for (; mask != 0; mask &= mask - 1) {
        const Gfn gfn = base + static_cast<u64>(std::countr_zero(mask));
        flush |= write_protect(gfn, gfn + 1);
    }
    return flush;
}

TlbFlush TdpMmu::write_protect_table(Hpa table, unsigned level, u64 table_gfn, u64 start, u64 end)
{
    TlbFlush flush;
    const u64 step = frames_at(level);
    for (u64 i = start <= table_gfn ? 0 : (start - table_gfn) / step;
         i < ept::kEntriesPerTable && table_gfn + i * step < end; ++i) {
        const Hpa entry = table + i * sizeof(u64);
        const u64 spte = mem::load<u64>(entry);
        if (!is_shadow_present_pte(spte))
            continue;
        if (!is_last_spte(spte, level)) {
            flush |= write_protect_table(child_of(spte), level - 1, table_gfn + i * step, start, end);
            continue;
        }
        if (level > 0) // its frames come back one by one
            exchange(entry, vm_.shadow_nonpresent_value);
        else
            __atomic_fetch_and(mem::host_ptr<u64>(entry), ~ept::W, __ATOMIC_SEQ_CST);
        flush.needed |= level > 0 || (spte & ept::W);
    }
    return flush;
}

Result<std::vector<Hpa>, Errno> TdpMmu::replace_direct_root()
{
    std::vector<Hpa> old;
    const Hpa fresh = TRY(alloc_table());
    if (direct_root() != Hpa())
        collect(direct_root(), levels_ - 1, old);
    direct_.store(fresh.value());
    return old;
}

void TdpMmu::collect(Hpa table, unsigned level, std::vector<Hpa>& tables) const
{
    for (unsigned i = 0; level > 0 && i < ept::kEntriesPerTable; ++i) {
        const u64 spte = mem::load<u64>(table + i * sizeof(u64));
        if (is_shadow_present_pte(spte) && !is_last_spte(spte, level))
            collect(child_of(spte), level - 1, tables);
    }
    tables.push_back(table);
}

void TdpMmu::free_mirror()
{
    if (mirror_ == Hpa())
        return;
    std::vector<Hpa> tables;
    collect(mirror_, levels_ - 1, tables);
    for (const Hpa table : tables) {
        if (const auto external = external_.find(table.value()); external != external_.end())
            vm_.ops.free_external_spt(vm_, external->second);
        vm_.memory().free_page(table);
    }
    external_.clear();
    mirror_ = Hpa();
}

} // namespace seamless::kvm
