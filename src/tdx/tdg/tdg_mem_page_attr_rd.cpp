// SPDX-License-Identifier: Apache-2.0
// TDG.MEM.PAGE.ATTR.RD: how a page is mapped. Without L2 VMs no page has attributes: those of the TD itself
// are reserved.
#include "tdx/sept.h"
#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using sept::SeptState;

namespace {

TdgOutcome refuse(TdgCall& call, TdxStatus status)
{
    call.reg(spec::Gpr::rcx) = call.reg(spec::Gpr::rdx) = 0;
    return status | TdxOperand::RCX;
}

} // namespace

TdgOutcome tdg_mem_page_attr_rd(TdgCall& call)
{
    Td& td = call.run.td;
    const u64 rcx = call.reg(spec::Gpr::rcx);
    const u64 gpa = rcx & bits(51, 12);
    if ((rcx & bits(63, 52)) || !td.private_gpa(gpa))
        return refuse(call, TdxStatus::OPERAND_INVALID);
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return refuse(call, TdxStatus::OPERAND_BUSY);
    sept::Position at = sept::walk(td, gpa, 0);
    const sept::EntryLock lock(at);
    if (!lock)
        return refuse(call, TdxStatus::OPERAND_BUSY);
    const bool pending = at.state() == SeptState::PENDING;
    if (!pending && at.state() != SeptState::MAPPED)
        return async_exit(call.run, {.reason = static_cast<u32>(ExitReason::EPT_VIOLATION), .gpa = gpa});
    call.reg(spec::Gpr::rcx) =
        align_down(gpa, spec::ept::level_size(at.level)) | at.level | (pending ? bit(62) : 0);
    call.reg(spec::Gpr::rdx) = 0;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
