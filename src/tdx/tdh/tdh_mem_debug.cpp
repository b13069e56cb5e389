// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.SEPT.RD, and TDH.MEM.RD and MEM.WR, with which the host of a debug TD looks into its memory.
#include <optional>

#include "mem/guest_access.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;

namespace {

// The quadword of a debug TD that RCX names. Its entry stays locked in `lock`, so that the page stays too.
TdxStatus debug_operand(SeamCall& call, sept::Position& at, std::optional<sept::EntryLock>& lock, Hpa& hpa)
{
    const Td& td = *call.td;
    if (!td.debug())
        return TdxStatus::TD_NON_DEBUG;
    const u64 gpa = call.regs.rcx;
    if (!aligned<u64>(gpa, sizeof(u64)) || !td.private_gpa(gpa))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    at = sept::walk(td, gpa, 0);
    if (!at.reached && !sept::is_leaf(at.state()))
        return with_entry(call, at, TdxStatus::EPT_WALK_FAILED | TdxOperand::RCX);
    lock.emplace(at);
    if (!*lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (at.state() != SeptState::MAPPED)
        return with_entry(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT | TdxOperand::RCX);
    hpa = mem::without_hkid(sept::target(at.entry)) + (gpa & (spec::ept::level_size(at.level) - 1));
    return TdxStatus::SUCCESS;
}

} // namespace

TdxStatus tdh_mem_sept_rd(SeamCall& call)
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
    return with_entry(call, at, TdxStatus::SUCCESS);
}

TdxStatus tdh_mem_rd(SeamCall& call)
{
    const Held tree(call.td->sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    std::optional<sept::EntryLock> lock;
    Hpa hpa;
    if (const TdxStatus s = debug_operand(call, at, lock, hpa); s != TdxStatus::SUCCESS)
        return s;
    call.regs.r8 = mem::load<u64>(hpa);
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_wr(SeamCall& call)
{
    const Held tree(call.td->sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    std::optional<sept::EntryLock> lock;
    Hpa hpa;
    if (const TdxStatus s = debug_operand(call, at, lock, hpa); s != TdxStatus::SUCCESS)
        return s;
    call.regs.r8 = __atomic_exchange_n(mem::host_ptr<u64>(hpa), call.regs.r8, __ATOMIC_SEQ_CST);
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
