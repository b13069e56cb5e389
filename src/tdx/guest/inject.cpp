// SPDX-License-Identifier: Apache-2.0
// Events for the guest, and the register image of TD exits.
#include "tdx/guest/run.h"
#include "trace/trace.h"

namespace seamless::tdx {

using namespace spec;

namespace {

constexpr u32 kStiOrMovSs = interruptibility::STI | interruptibility::MOV_SS;

} // namespace

After async_exit(GuestRun& run, const AsyncExit& exit)
{
    const bool keeps_rbp = run.td.config_flags & config_flags::NO_RBP_MOD;
    run.regs = {.rcx = exit.qualification & 0xffffffff,
                .rdx = exit.extended,
                .rbp = keeps_rbp ? run.regs.rbp : 0,
                .r8 = exit.gpa & ~kPageMask,
                .r9 = exit.intr_info};
    run.status = exit.status | exit.reason;
    return After::td_exit;
}

After fatal_exit(GuestRun& run, TdxStatus status)
{
    run.td.fatal = true;
    return async_exit(run, {.status = status, .reason = run.vmcs().exit_reason});
}

void inject(GuestRun& run, Vector vector, std::optional<u32> error_code)
{
    cpu::Vmcs& vmcs = run.vmcs();
    vmcs.entry_intr_info = intr_info::VALID | intr_info::HARDWARE_EXCEPTION | static_cast<u32>(vector) |
                           (error_code ? intr_info::ERROR_CODE : 0);
    vmcs.entry_exception_error_code = error_code.value_or(0);
    vmcs.rflags |= rflags::RF; // the image that a fault pushes
    vmcs.interruptibility &= ~kStiOrMovSs;
}

After inject_ve(GuestRun& run, const VeRequest& ve)
{
    VeInfo& info = run.vcpu.ve_info();
    if (info.valid != 0) {
        inject(run, Vector::DF, 0);
        return After::resume;
    }
    info = {.exit_reason = static_cast<u32>(ve.reason),
            .valid = kVeInfoValid,
            .exit_qualification = ve.qualification,
            .gla = ve.gla,
            .gpa = ve.gpa,
            .eptp_index = 0,
            .reserved = 0,
            .instruction_length = ve.length,
            .instruction_information = ve.information};
    TRACE(run.lp.trace, trace::Event::ve_inject, exit_reason_name(ve.reason), ve.qualification, ve.gla,
          ve.gpa, run.vmcs().rip, trace::Absent{}, ve.length);
    inject(run, Vector::VE);
    return After::resume;
}

void advance_rip(GuestRun& run)
{
    cpu::Vmcs& vmcs = run.vmcs();
    vmcs.rip += vmcs.exit_instruction_len;
    const Segment& cs = vmcs.seg[static_cast<unsigned>(Seg::cs)];
    if (!(vmcs.efer & efer::LMA) || !(cs.ar & segment_ar::L))
        vmcs.rip &= 0xffffffff;
    vmcs.interruptibility &= ~kStiOrMovSs;
    vmcs.rflags &= ~rflags::RF;
    if (vmcs.rflags & rflags::TF)
        vmcs.pending_dbg_exceptions |= dr6::BS; // single-stepping goes on behind the instruction
}

} // namespace seamless::tdx
