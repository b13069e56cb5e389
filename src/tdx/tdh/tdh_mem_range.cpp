// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.RANGE.BLOCK, RANGE.UNBLOCK, MEM.TRACK, PAGE.REMOVE: pages leave the secure EPT, once no TLB can
// hold them.
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;
using spec::TdxPageType;

namespace {

struct BlockRow {
    SeptState open, blocked;
};
constexpr BlockRow kBlocks[] = {
    {SeptState::NL_MAPPED, SeptState::NL_BLOCKED},
    {SeptState::MAPPED, SeptState::BLOCKED},
    {SeptState::PENDING, SeptState::PENDING_BLOCKED},
};

} // namespace

TdxStatus tdh_mem_range_block(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, td.ept_levels() - 1, operand); s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (sept::is_blocked(at.state()))
        return with_entry(call, at, TdxStatus::GPA_RANGE_ALREADY_BLOCKED | TdxOperand::RCX);
    for (const BlockRow& row : kBlocks)
        if (row.open == at.state()) {
            // The entry closes first and the epoch is read after it: whoever may have cached the open entry
            // entered in this epoch or an older one. The entry stays locked, so that nobody removes the page
            // between the two.
            const u64 closed = sept::make(sept::target(at.entry), row.blocked);
            PamtEntry& target = target_entry(call, at);
            lock.store_locked(closed);
            target.bepoch = td.td_epoch.load();
            lock.commit(closed);
            call.regs.rcx = call.regs.rdx = 0;
            return TdxStatus::SUCCESS;
        }
    return with_entry(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT | TdxOperand::RCX);
}

TdxStatus tdh_mem_range_unblock(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, td.ept_levels() - 1, operand); s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::exclusive);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    for (const BlockRow& row : kBlocks)
        if (row.blocked == at.state()) {
            if (td.tlb_tracking_required() && !tlb_tracked(td, target_entry(call, at).bepoch))
                return with_entry(call, at, TdxStatus::TLB_TRACKING_NOT_DONE | TdxOperand::RCX);
            lock.commit(sept::make(sept::target(at.entry), row.open));
            call.regs.rcx = call.regs.rdx = 0;
            return TdxStatus::SUCCESS;
        }
    return with_entry(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT | TdxOperand::RCX);
}

TdxStatus tdh_mem_track(SeamCall& call)
{
    Td& td = *call.td;
    const Held epoch(td.epoch_lock, LockMode::exclusive);
    if (!epoch)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TD_EPOCH;
    if (td.refcount[(td.td_epoch - 1) & 1] != 0)
        return TdxStatus::PREVIOUS_TLB_EPOCH_BUSY;
    ++td.td_epoch;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_remove(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, 1, operand); s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (!sept::is_leaf(at.state()))
        return with_entry(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT | TdxOperand::RCX);
    if (td.tlb_tracking_required()) {
        if (!sept::is_blocked(at.state()))
            return with_entry(call, at, TdxStatus::GPA_RANGE_NOT_BLOCKED | TdxOperand::RCX);
        if (!tlb_tracked(td, target_entry(call, at).bepoch))
            return with_entry(call, at, TdxStatus::TLB_TRACKING_NOT_DONE | TdxOperand::RCX);
    }
    const Hpa hpa = mem::without_hkid(sept::target(at.entry));
    LockedPage page = call.module.pamt().lock(hpa, operand.level, LockMode::exclusive);
    if (!page.entry)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    call.module.free_page(page, td);
    lock.commit(sept::kFree);
    call.regs.rcx = hpa.value();
    call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
