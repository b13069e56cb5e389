// SPDX-License-Identifier: Apache-2.0
// TDH.MR.EXTEND and TDH.MR.FINALIZE: the build-time measurement, and the TD becomes runnable.
#include "tdx/mrtd.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;

TdxStatus tdh_mr_extend(SeamCall& call)
{
    Td& td = *call.td;
    const u64 gpa = call.regs.rcx;
    if (!aligned<u64>(gpa, kMrExtendBytes) || !td.private_gpa(gpa))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    const Held mrtd(td.mrtd_lock, LockMode::exclusive);
    if (!mrtd)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDCS;
    sept::Position at = sept::walk(td, gpa, 0);
    if (!at.reached)
        return with_entry(call, at, TdxStatus::EPT_ENTRY_NOT_PRESENT | TdxOperand::RCX);
    const sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (at.state() != SeptState::MAPPED)
        return with_entry(call, at, TdxStatus::EPT_ENTRY_NOT_PRESENT | TdxOperand::RCX);
    const Hpa chunk = sept::target(at.entry) + (gpa & kPageMask);
    measure_extend(*td.mrtd_context, gpa,
                   std::span<const u8, kMrExtendBytes>(mem::host_ptr<u8>(chunk), kMrExtendBytes));
    call.regs.rcx = call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mr_finalize(SeamCall& call)
{
    Td& td = *call.td;
    const Held mrtd(td.mrtd_lock, LockMode::exclusive);
    if (!mrtd)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDCS;
    td.mrtd = td.mrtd_context->finish();
    td.mrtd_context.reset();
    td.op_state = spec::TdOpState::RUNNABLE; // SERVTD_HASH stays zero: no service TD can be bound
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
