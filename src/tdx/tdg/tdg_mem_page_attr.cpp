// SPDX-License-Identifier: Apache-2.0
// TDG.MEM.PAGE.ATTR.RD and ATTR.WR: how a page is mapped, for each VM of the TD. Without L2 VMs no page has
// attributes: those of the TD itself are reserved.
#include "tdx/sept.h"
#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using sept::SeptState;

namespace {

TdgOutcome refuse(TdgCall& call, TdxStatus status)
{
    call.reg(spec::Gpr::rcx) = call.reg(spec::Gpr::rdx) = 0;
    return status;
}

TdgOutcome refuse_rcx(TdgCall& call, TdxStatus status) { return refuse(call, status | TdxOperand::RCX); }

// Attributes in RDX and what to change in R8 have 16 bits for each VM. They are checked VM by VM.
std::optional<TdxOperand> attributes_of_missing_vm(TdgCall& call)
{
    for (unsigned vm = 0; vm < 4; ++vm) {
        const u64 mask = u64{0xffff} << 16 * vm;
        if (call.reg(spec::Gpr::rdx) & mask)
            return TdxOperand::RDX;
        if (call.reg(spec::Gpr::r8) & mask)
            return TdxOperand::R8;
    }
    return std::nullopt;
}

} // namespace

TdgOutcome tdg_mem_page_attr_rd(TdgCall& call)
{
    Td& td = call.run.td;
    const u64 rcx = call.reg(spec::Gpr::rcx);
    const u64 gpa = rcx & bits(51, 12);
    if ((rcx & bits(63, 52)) || !td.private_gpa(gpa))
        return refuse_rcx(call, TdxStatus::OPERAND_INVALID);
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return refuse_rcx(call, TdxStatus::OPERAND_BUSY);
    sept::Position at = sept::walk(td, gpa, 0);
    const sept::EntryLock lock(at);
    if (!lock)
        return refuse_rcx(call, TdxStatus::OPERAND_BUSY);
    const bool pending = at.state() == SeptState::PENDING;
    if (!pending && at.state() != SeptState::MAPPED)
        return async_exit(call.run, {.reason = static_cast<u32>(ExitReason::EPT_VIOLATION), .gpa = gpa});
    call.reg(spec::Gpr::rcx) =
        align_down(gpa, spec::ept::level_size(at.level)) | at.level | (pending ? bit(62) : 0);
    call.reg(spec::Gpr::rdx) = 0;
    return TdxStatus::SUCCESS;
}

TdgOutcome tdg_mem_page_attr_wr(TdgCall& call)
{
    Td& td = call.run.td;
    if (const auto operand = attributes_of_missing_vm(call))
        return refuse(call, TdxStatus::OPERAND_INVALID | *operand);
    const u64 rcx = call.reg(spec::Gpr::rcx), gpa = rcx & bits(51, 12);
    const unsigned level = static_cast<unsigned>(field(rcx, 2, 0));
    if ((rcx & (bits(11, 3) | bits(63, 52))) || level > 2 || !aligned(gpa, spec::ept::level_size(level)) ||
        !td.private_gpa(gpa))
        return refuse_rcx(call, TdxStatus::OPERAND_INVALID);
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return refuse_rcx(call, TdxStatus::OPERAND_BUSY);
    sept::Position at = sept::walk(td, gpa, level);
    if (!at.reached) // the host may split a larger page
        return exit_for_entry(call, gpa, level, at, spec::ExtendedExitQual::ATTR_WR);
    const sept::EntryLock lock(at);
    if (!lock)
        return refuse_rcx(call, TdxStatus::OPERAND_BUSY);
    const SeptState state = at.state();
    if (!sept::is_leaf(state) && state != SeptState::FREE)
        return refuse(call, TdxStatus::PAGE_SIZE_MISMATCH | at.level);
    if (state != SeptState::MAPPED && state != SeptState::PENDING)
        return exit_for_entry(call, gpa, level, at, spec::ExtendedExitQual::ATTR_WR);
    call.reg(spec::Gpr::rcx) = rcx | (state == SeptState::PENDING ? bit(62) : 0);
    call.reg(spec::Gpr::rdx) = 0;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
