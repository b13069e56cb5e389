// SPDX-License-Identifier: Apache-2.0
// TDG.VP.VMCALL, VP.INFO, VP.VEINFO.GET, VP.CPUIDVE.SET: a vCPU and its host, and what it knows of itself.
#include <bit>

#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using spec::Gpr;

TdgOutcome tdg_vp_vmcall(TdgCall& call)
{
    GuestRun& run = call.run;
    const u64 mask = call.reg(Gpr::rcx);
    const bool no_rbp = run.td.config_flags & spec::config_flags::NO_RBP_MOD;
    if (mask & (spec::tdvmcall_mask::kNeverExposed | bits(63, 32) | (no_rbp ? spec::tdvmcall_mask::RBP : 0)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    advance_rip(run); // trap-like: the guest goes on behind TDCALL
    async_exit(run, {.reason = run.vmcs().exit_reason});
    run.regs.rcx = mask;
    for (u64 left = mask & 0xffff; left != 0; left &= left - 1) {
        const auto i = static_cast<unsigned>(std::countr_zero(left));
        run.regs.*kHostRegisters[i] = run.context().gpr[i];
    }
    run.vcpu.tdvmcall_mask = mask;
    run.vcpu.last_exit = LastTdExit::tdvmcall;
    return After::td_exit;
}

TdgOutcome tdg_vp_info(TdgCall& call)
{
    const Td& td = call.run.td;
    call.reg(Gpr::rcx) = td.gpaw();
    call.reg(Gpr::rdx) = td.attributes;
    call.reg(Gpr::r8) = td.num_vcpus | u64{td.max_vcpus} << 32;
    call.reg(Gpr::r9) = call.run.vcpu.index;
    call.reg(Gpr::r10) = 1; // TDG.SYS.RD is there
    call.reg(Gpr::r11) = 0;
    return TdxStatus::SUCCESS;
}

TdgOutcome tdg_vp_veinfo_get(TdgCall& call)
{
    spec::VeInfo& info = call.run.vcpu.ve_info();
    const spec::VeInfo ve = info.valid ? info : spec::VeInfo{};
    call.reg(Gpr::rcx) = ve.exit_reason;
    call.reg(Gpr::rdx) = ve.exit_qualification;
    call.reg(Gpr::r8) = ve.gla;
    call.reg(Gpr::r9) = ve.gpa;
    // An EPT violation's #VE comes from the processor, which writes neither: what an earlier one left is not
    // shown.
    const bool instruction = ve.exit_reason != static_cast<u32>(ExitReason::EPT_VIOLATION);
    call.reg(Gpr::r10) = instruction ? ve.instruction_length | u64{ve.instruction_information} << 32 : 0;
    info.valid = 0;
    return ve.valid ? TdxStatus::SUCCESS : TdxStatus::NO_VALID_VE_INFO;
}

TdgOutcome tdg_vp_cpuidve_set(TdgCall& call)
{
    Vcpu& vcpu = call.run.vcpu;
    const u64 rcx = call.reg(Gpr::rcx);
    const bool supervisor = test(rcx, 0), user = test(rcx, 1);
    const bool change = supervisor != vcpu.cpuid_supervisor_ve || user != vcpu.cpuid_user_ve;
    if ((rcx & ~bits(1, 0)) || (change && (call.run.td.td_ctls & spec::td_ctls::LOCK)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    vcpu.cpuid_supervisor_ve = supervisor;
    vcpu.cpuid_user_ve = user;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
