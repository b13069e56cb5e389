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

TdxStatus entry_error(SeamCall& call, const sept::Position& at, TdxStatus status)
{
    return with_entry(call, at, status | TdxOperand::RCX);
}

// In a TD that may run, what `at` refers to must be blocked, and out of all TLBs.
TdxStatus check_tracked(SeamCall& call, const sept::Position& at)
{
    if (!call.td->tlb_tracking_required())
        return TdxStatus::SUCCESS;
    if (!sept::is_blocked(at.state()))
        return entry_error(call, at, TdxStatus::GPA_RANGE_NOT_BLOCKED);
    if (!tlb_tracked(*call.td, target_entry(call, at).bepoch))
        return entry_error(call, at, TdxStatus::TLB_TRACKING_NOT_DONE);
    return TdxStatus::SUCCESS;
}

bool is_table(SeptState s) { return s == SeptState::NL_MAPPED || s == SeptState::NL_BLOCKED; }

SeptState unblocked(SeptState s)
{
    return s == SeptState::BLOCKED           ? SeptState::MAPPED
           : s == SeptState::PENDING_BLOCKED ? SeptState::PENDING
                                             : s;
}

// Gives a table page back and reports it.
void free_table(SeamCall& call, LockedPage& table)
{
    call.module.free_page(table, *call.td);
    call.regs.rcx = table.hpa.value();
    call.regs.rdx = 0;
    if (call.version > 0)
        call.regs.r9 = call.regs.r10 = call.regs.r11 = ~u64{0}; // no L2 VM had a table there
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
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 1, td.ept_levels() - 1, operand); s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::exclusive);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    if (!is_table(at.state()))
        return entry_error(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT);
    LockedPage table =
        call.module.pamt().lock(mem::without_hkid(sept::target(at.entry)), 0, LockMode::exclusive);
    if (!table.entry)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    if (const TdxStatus s = check_tracked(call, at); s != TdxStatus::SUCCESS)
        return s;
    if (!sept::all_free(table.hpa))
        return entry_error(call, at, TdxStatus::EPT_PAGE_NOT_FREE);
    lock.commit(sept::kFree);
    free_table(call, table);
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_demote(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 1, 2, operand); s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    if (!sept::is_leaf(at.state())) // a page of 1 GiB never comes to be
        return entry_error(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT);
    if (const TdxStatus s = check_tracked(call, at); s != TdxStatus::SUCCESS)
        return s;
    LockedPage table;
    if (const TdxStatus s =
            call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive, TdxPageType::NDA, table);
        s != TdxStatus::SUCCESS)
        return s;
    const Hpa large = sept::target(at.entry);
    LockedPage page = call.module.pamt().lock(mem::without_hkid(large), 1, LockMode::exclusive);
    if (!page.entry)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    const SeptState state = unblocked(at.state());
    for (u64 i = 0; i < kChildren; ++i)
        mem::store(table.hpa + i * sizeof(u64), sept::make(large + i * kPageSize, state));
    call.module.pamt().split(page);
    call.module.take_page(table, TdxPageType::EPT, td);
    lock.commit(sept::make(mem::with_hkid(table.hpa, td.hkid), SeptState::NL_MAPPED));
    call.regs.rcx = call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_promote(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 1, 2, operand); s != TdxStatus::SUCCESS)
        return s;
    // The module locks the children one by one. To take the tree for itself is the same to the host, and
    // nobody is left who has found an entry in a table that is about to go.
    const Held tree(td.sept_lock, LockMode::exclusive);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    if (!is_table(at.state()))
        return entry_error(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT);
    if (const TdxStatus s = check_tracked(call, at); s != TdxStatus::SUCCESS)
        return s;
    LockedPage table =
        call.module.pamt().lock(mem::without_hkid(sept::target(at.entry)), 0, LockMode::exclusive);
    if (!table.entry)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    // DEVIATION: the PAMT here has no pages of 1 GiB, so that what would become one is never fit for it.
    const std::optional<u64> leaf = operand.level == 1 ? merged_leaf(table.hpa) : std::nullopt;
    if (!leaf)
        return entry_error(call, at, TdxStatus::EPT_INVALID_PROMOTE_CONDITIONS);
    const Hpa large = sept::target(*leaf);
    LockedPage page = call.module.pamt().lock(mem::without_hkid(large), 1, LockMode::exclusive);
    if (!page.entry)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    call.module.pamt().merge(page, td.tdr);
    lock.commit(sept::make(large, sept::state_of(*leaf)));
    free_table(call, table);
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_relocate(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, 0, operand); s != TdxStatus::SUCCESS)
        return s;
    LockedPage fresh;
    if (const TdxStatus s =
            call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive, TdxPageType::NDA, fresh);
        s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    if (!sept::is_leaf(at.state()))
        return entry_error(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT);
    if (const TdxStatus s = check_tracked(call, at); s != TdxStatus::SUCCESS)
        return s;
    const Hpa before = mem::without_hkid(sept::target(at.entry));
    LockedPage page = call.module.pamt().lock(before, 0, LockMode::exclusive);
    if (!page.entry)
        return entry_error(call, at, TdxStatus::OPERAND_BUSY);
    mem::copy_to(fresh.hpa, {mem::host_ptr<u8>(before), kPageSize});
    call.module.take_page(fresh, TdxPageType::REG, td);
    fresh.entry->bepoch = page.entry->bepoch.load(); // it stays blocked since then
    call.module.free_page(page, td);
    lock.commit(sept::make(mem::with_hkid(fresh.hpa, td.hkid), at.state()));
    call.regs.rcx = before.value();
    call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
