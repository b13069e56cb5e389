// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.SEPT.REMOVE, PAGE.DEMOTE, PAGE.PROMOTE, PAGE.RELOCATE: the tree changes its shape, its content
// stays.
#include <optional>

#include "mem/guest_access.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;
using spec::TdxPageType;

namespace {

constexpr u64 kChildren = spec::ept::kEntriesPerTable;

SeptState unblocked(SeptState s)
{
    return s == SeptState::BLOCKED           ? SeptState::MAPPED
           : s == SeptState::PENDING_BLOCKED ? SeptState::PENDING
                                             : s;
}

// The table has left the tree: its page goes back and is reported.
TdxStatus free_table(SeamCall& call, LockedPage& table)
{
    call.module.free_page(table, *call.td);
    if (call.version > 0)
        call.regs.r9 = call.regs.r10 = call.regs.r11 = ~u64{0}; // no L2 VM had a table there
    return done(call, table.hpa.value());
}

// The 2 MiB page that the entries of `table` make up, if they do: all of one state, in one piece, aligned.
std::optional<u64> merged_leaf(Hpa table)
{
    const u64 first = mem::load<u64>(table);
    const SeptState state = sept::state_of(first);
    if ((state != SeptState::MAPPED && state != SeptState::PENDING) ||
        !aligned(sept::target(first).value(), spec::ept::level_size(1)))
        return std::nullopt;
    for (u64 i = 1; i < kChildren; ++i)
        if (mem::load<u64>(table + i * sizeof(u64)) != sept::make(sept::target(first) + i * kPageSize, state))
            return std::nullopt;
    return first;
}

} // namespace

TdxStatus tdh_mem_sept_remove(SeamCall& call)
{
    LockedPage table;
    if (const TdxStatus s = lock_target(call, table); s != TdxStatus::SUCCESS)
        return s;
    if (const TdxStatus s = check_tracked(call); s != TdxStatus::SUCCESS) // behind the lock, unlike elsewhere
        return s;
    if (!sept::all_free(table.hpa))
        return entry_error(call, TdxStatus::EPT_PAGE_NOT_FREE);
    call.entry->commit(sept::kFree);
    return free_table(call, table);
}

TdxStatus tdh_mem_page_demote(SeamCall& call)
{
    LockedPage table, page;
    if (const TdxStatus s =
            call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive, TdxPageType::NDA, table);
        s != TdxStatus::SUCCESS)
        return s;
    if (const TdxStatus s = lock_target(call, page); s != TdxStatus::SUCCESS)
        return s;
    const Hpa large = sept::target(call.at.entry);
    const SeptState state = unblocked(call.at.state());
    for (u64 i = 0; i < kChildren; ++i)
        mem::store(table.hpa + i * sizeof(u64), sept::make(large + i * kPageSize, state));
    call.module.pamt().split(page);
    call.module.take_page(table, TdxPageType::EPT, *call.td);
    call.entry->commit(sept::make(mem::with_hkid(table.hpa, call.td->hkid), SeptState::NL_MAPPED));
    return done(call);
}

// The module locks the children one by one. To have the tree for itself, as the row says, is the same to the
// host, and nobody is left who has found an entry in a table that is about to go.
TdxStatus tdh_mem_page_promote(SeamCall& call)
{
    LockedPage table;
    if (const TdxStatus s = lock_target(call, table); s != TdxStatus::SUCCESS)
        return s;
    // DEVIATION: the PAMT here has no pages of 1 GiB, so that what would become one is never fit for it.
    const std::optional<u64> leaf = call.level == 1 ? merged_leaf(table.hpa) : std::nullopt;
    if (!leaf)
        return entry_error(call, TdxStatus::EPT_INVALID_PROMOTE_CONDITIONS);
    const Hpa large = sept::target(*leaf);
    LockedPage page = call.module.pamt().lock(mem::without_hkid(large), 1, LockMode::exclusive);
    if (!page.entry)
        return entry_error(call, TdxStatus::OPERAND_BUSY);
    call.module.pamt().merge(page, call.td->tdr);
    call.entry->commit(sept::make(large, sept::state_of(*leaf)));
    return free_table(call, table);
}

TdxStatus tdh_mem_page_relocate(SeamCall& call)
{
    Td& td = *call.td;
    LockedPage page, &fresh = call.new_page;
    if (const TdxStatus s = lock_target(call, page); s != TdxStatus::SUCCESS)
        return s;
    const Hpa before = page.hpa;
    mem::copy_to(fresh.hpa, {mem::host_ptr<u8>(before), kPageSize});
    call.module.take_page(fresh, TdxPageType::REG, td);
    fresh.entry->bepoch = page.entry->bepoch.load(); // it stays blocked since then
    call.module.free_page(page, td);
    call.entry->commit(sept::make(mem::with_hkid(fresh.hpa, td.hkid), call.at.state()));
    return done(call, before.value());
}

} // namespace seamless::tdx
