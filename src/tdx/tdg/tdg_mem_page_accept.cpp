// SPDX-License-Identifier: Apache-2.0
// TDG.MEM.PAGE.ACCEPT: the guest takes a page that the host has added, and gets it zeroed.
#include "mem/clear.h"
#include "tdx/module.h"
#include "tdx/sept.h"
#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using sept::SeptState;

// The host sees what was asked for and what the walk met.
TdgOutcome exit_for_entry(TdgCall& call, u64 gpa, unsigned level, const sept::Position& at,
                          spec::ExtendedExitQual type)
{
    const u64 details = u64{level} | u64{at.level} << 3 | u64{static_cast<u8>(at.state())} << 6 |
                        u64{sept::is_leaf(at.state())} << 14;
    return async_exit(call.run, {.reason = static_cast<u32>(ExitReason::EPT_VIOLATION),
                                 .qualification = spec::ept::qual::WRITE | (at.entry & spec::ept::RWX) << 3,
                                 .extended = static_cast<u64>(type) | details << 32,
                                 .gpa = gpa});
}

TdgOutcome tdg_mem_page_accept(TdgCall& call)
{
    Td& td = call.run.td;
    const u64 rcx = call.reg(spec::Gpr::rcx);
    const u64 gpa = rcx & bits(51, 12);
    const unsigned level = static_cast<unsigned>(field(rcx, 2, 0));
    if ((rcx & (bits(11, 3) | bits(63, 52))) || level > 1 || !aligned(gpa, spec::ept::level_size(level)) ||
        !td.private_gpa(gpa))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::RCX;
    sept::Position at = sept::walk(td, gpa, level);
    sept::EntryLock lock(at);
    if (!lock)
        return TdxStatus::OPERAND_BUSY | TdxOperand::RCX;
    if (at.state() == SeptState::MAPPED)
        return TdxStatus::PAGE_ALREADY_ACCEPTED | at.level;
    if (at.reached && at.state() == SeptState::NL_MAPPED)
        return TdxStatus::PAGE_SIZE_MISMATCH | at.level;
    if (!at.reached || at.state() != SeptState::PENDING)
        return exit_for_entry(call, gpa, level, at, spec::ExtendedExitQual::ACCEPT);
    const Hpa page = mem::without_hkid(sept::target(at.entry));
    if (!call.run.module.memory().take_untouched(page, spec::ept::level_size(level)))
        mem::clear(page, spec::ept::level_size(level));
    lock.commit(sept::make(sept::target(at.entry), SeptState::MAPPED));
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
