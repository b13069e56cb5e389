// SPDX-License-Identifier: Apache-2.0
// KVM_SET_GUEST_DEBUG: a debugger in user space steps a plain VM or gives it breakpoints. Its debug registers
// stand in for the guest's, which are kept aside, and its trap flag is set only while the guest runs: the
// guest's registers show neither.
#include <algorithm>
#include <iterator>

#include "kvm/backend_vmx/vmx.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

constexpr u64 kBreakpointBits = dr6::B0_3 | dr6::BD | dr6::BS;

u64 linear_rip(const cpu::Vmcs& v)
{
    const Segment& cs = v.seg[static_cast<unsigned>(Seg::cs)];
    const bool code64 = (v.efer & efer::LMA) && (cs.ar & segment_ar::L);
    return code64 ? v.rip : static_cast<u32>(v.rip + cs.base);
}

Handled exit_for_debugger(Vcpu& vcpu, Vector vector, u64 dr6_bits)
{
    const cpu::Vmcs& v = vcpu.vmx->vmcs;
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_DEBUG;
    run.debug.exception = static_cast<u32>(vector);
    run.debug.pc = linear_rip(v);
    if (vector == Vector::DB) {
        run.debug.dr6 = dr6_bits | dr6::kReset;
        run.debug.dr7 = v.dr7;
    }
    return kToUser;
}

void use_breakpoints(VcpuVmx& vmx, const kvm_guest_debug& debug)
{
    if (!vmx.debugger_has_registers()) {
        std::copy(std::begin(vmx.context.dr), std::end(vmx.context.dr), vmx.guest_dr);
        vmx.guest_dr7 = vmx.vmcs.dr7;
    }
    std::copy_n(debug.debugreg, std::size(vmx.guest_dr), vmx.context.dr);
    vmx.vmcs.dr7 = (debug.debugreg[7] & 0xffff2fff) | dr7::kReset;
    vmx.vmcs.proc_based |= proc::MOV_DR_EXITING; // the guest uses those that are kept aside
}

void restore_guests_registers(VcpuVmx& vmx)
{
    std::copy(std::begin(vmx.guest_dr), std::end(vmx.guest_dr), vmx.context.dr);
    vmx.vmcs.dr7 = vmx.guest_dr7;
    vmx.vmcs.proc_based &= ~proc::MOV_DR_EXITING;
}

bool inject(Vcpu& vcpu, u32 control)
{
    VcpuVmx& vmx = *vcpu.vmx;
    if (vmx.inject_info & intr_info::VALID)
        return false;
    if (control & KVM_GUESTDBG_INJECT_DB) {
        vmx_queue_exception(vcpu, Vector::DB);
        return true;
    }
    vmx.inject_info = intr_info::VALID | intr_info::SOFTWARE_EXCEPTION | static_cast<u32>(Vector::BP);
    vmx.inject_length = vmx.debug_event_length;
    return true;
}

} // namespace

Result<void, Errno> vmx_set_guest_debug(Vcpu& vcpu, const kvm_guest_debug& debug)
{
    VcpuVmx& vmx = *vcpu.vmx;
    constexpr u32 kInject = KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP;
    if ((debug.control & kInject) && !inject(vcpu, debug.control))
        return fail(Errno{EBUSY});
    const u32 control = debug.control & KVM_GUESTDBG_ENABLE ? debug.control : 0;
    if (control & KVM_GUESTDBG_USE_HW_BP)
        use_breakpoints(vmx, debug);
    else if (vmx.debugger_has_registers())
        restore_guests_registers(vmx);
    vmx.guest_debug = control;
    const u32 db = 1u << static_cast<u8>(Vector::DB), bp = 1u << static_cast<u8>(Vector::BP);
    vmx.vmcs.exception_bitmap &= ~(db | bp);
    vmx.vmcs.exception_bitmap |= control & (KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP) ? db : 0;
    vmx.vmcs.exception_bitmap |= control & KVM_GUESTDBG_USE_SW_BP ? bp : 0;
    return {};
}

void vmx_begin_step(VcpuVmx& vmx)
{
    if (!(vmx.guest_debug & KVM_GUESTDBG_SINGLESTEP))
        return;
    vmx.step_flag_is_ours = !(vmx.vmcs.rflags & rflags::TF);
    vmx.vmcs.rflags |= rflags::TF;
    // The trap comes behind the next instruction, shadow or not.
    vmx.vmcs.interruptibility &= ~(interruptibility::STI | interruptibility::MOV_SS);
}

void vmx_end_step(VcpuVmx& vmx)
{
    if (std::exchange(vmx.step_flag_is_ours, false)) {
        vmx.vmcs.rflags &= ~rflags::TF;
        vmx.vmcs.pending_dbg_exceptions &= ~dr6::BS;
    }
}

bool vmx_steps(const VcpuVmx& vmx)
{
    return (vmx.vmcs.rflags & rflags::TF) || (vmx.guest_debug & KVM_GUESTDBG_SINGLESTEP);
}

Handled vmx_do_singlestep(Vcpu& vcpu)
{
    if (vcpu.vmx->guest_debug & KVM_GUESTDBG_SINGLESTEP)
        return exit_for_debugger(vcpu, Vector::DB, dr6::BS);
    vcpu.vmx->context.dr6 |= dr6::BS;
    vmx_queue_exception(vcpu, Vector::DB);
    return kResume;
}

Handled vmx_handle_debug_exception(Vcpu& vcpu, Vector vector)
{
    VcpuVmx& vmx = *vcpu.vmx;
    vmx.debug_event_length = vmx.vmcs.exit_instruction_len;
    if (vector != Vector::DB)
        return exit_for_debugger(vcpu, vector, 0);
    // The processor reports the causes in DR6. DEVIATION: what the guest itself wrote there since the entry
    // is lost; an exit should not touch DR6.
    const u64 causes = vmx.context.dr6 & kBreakpointBits;
    vmx.context.dr6 = vmx.dr6_at_entry;
    return exit_for_debugger(vcpu, vector, causes);
}

u64& vmx_guest_dr(VcpuVmx& vmx, unsigned n)
{
    if (n == 6)
        return vmx.context.dr6;
    if (n == 7)
        return vmx.debugger_has_registers() ? vmx.guest_dr7 : vmx.vmcs.dr7;
    return vmx.debugger_has_registers() ? vmx.guest_dr[n] : vmx.context.dr[n];
}

// SDM: "Exit Qualification for MOV DR". The processor has checked privilege and the number.
bool vmx_access_dr(Vcpu& vcpu, u64 qualification)
{
    VcpuVmx& vmx = *vcpu.vmx;
    const auto gpr = static_cast<unsigned>(field(qualification, 11, 8));
    const auto n = static_cast<unsigned>(field(qualification, 2, 0));
    u64& target = vmx_guest_dr(vmx, n);
    u64& reg = gpr == static_cast<unsigned>(Gpr::rsp) ? vmx.vmcs.rsp : vmx.context.gpr[gpr];
    if (qualification & bit(4)) {
        reg = target;
        return true;
    }
    if (n >= 6 && reg >> 32)
        return false;
    if (n == 6)
        target = (reg & 0x1e00f) | dr6::kReset;
    else if (n == 7)
        target = (reg & 0xffff2fff) | dr7::kReset;
    else
        target = reg;
    return true;
}

} // namespace seamless::kvm
