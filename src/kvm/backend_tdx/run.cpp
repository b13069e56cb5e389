// SPDX-License-Identifier: Apache-2.0
// One TDH.VP.ENTER, and what KVM makes of its return: exit reasons with KVM's own reading, faults, fatal
// statuses.
#include <algorithm>
#include <thread>

#include "kvm/backend_tdx/tdx.h"
#include "kvm/mmu/mmu.h"
#include "spec/vmx.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

constexpr u32 kNoReason = ~0u;

// KVM's own numbers of the statuses behind which it looks for an exit reason. Two are not the module's, which
// says 60000002H and E0000007H: what follows those, a failed VM entry too, KVM takes for an internal error.
constexpr u64 kStatusesWithReason[] = {
    0x00000000, // SUCCESS
    0x40000001, // NON_RECOVERABLE_VCPU
    0x40000002, // NON_RECOVERABLE_TD
    0x60000005, // NON_RECOVERABLE_TD_NON_ACCESSIBLE
    0x60000007, // NON_RECOVERABLE_TD_WRONG_APIC_MODE
};

bool has_exit_reason(u64 ret)
{
    return std::find(std::begin(kStatusesWithReason), std::end(kStatusesWithReason), ret >> 32) !=
           std::end(kStatusesWithReason);
}

// KVM's reading of a TDVMCALL: instruction calls by their own exit reason, MMIO as EPT_MISCONFIG.
u32 tdvmcall_reason(const cpu::SeamRegs& args)
{
    if (args.r10 != 0)
        return static_cast<u32>(ExitReason::VMCALL);
    switch (static_cast<Tdvmcall>(args.r11)) {
    case Tdvmcall::INSTRUCTION_CPUID:
    case Tdvmcall::INSTRUCTION_HLT:
    case Tdvmcall::INSTRUCTION_IO:
    case Tdvmcall::INSTRUCTION_RDMSR:
    case Tdvmcall::INSTRUCTION_WRMSR:
        return static_cast<u32>(args.r11);
    case Tdvmcall::VE_REQUEST_MMIO:
        return static_cast<u32>(ExitReason::EPT_MISCONFIG);
    default:
        return static_cast<u32>(ExitReason::TDCALL);
    }
}

u32 exit_reason_of(u64 ret, const cpu::SeamRegs& args)
{
    if (!has_exit_reason(ret))
        return kNoReason;
    const auto reason = static_cast<u32>(ret);
    if (reason == static_cast<u32>(ExitReason::EPT_MISCONFIG))
        return kNoReason; // a raw one is a host bug
    return reason == static_cast<u32>(ExitReason::TDCALL) ? tdvmcall_reason(args) : reason;
}

bool is_tdcall(const VcpuTdx& tdx)
{
    return static_cast<u32>(tdx.vp_enter_ret) == static_cast<u32>(ExitReason::TDCALL);
}

const char* name_of_reason(u32 reason)
{
    return reason == kNoReason ? "UNKNOWN" : exit_reason_name(static_cast<ExitReason>(reason & 0xffff));
}

void trace_exit(const Vcpu& vcpu, const VcpuTdx& tdx)
{
    if (!vcpu.trace().enabled()) [[likely]]
        return;
    const char* hw = exit_reason_name(static_cast<ExitReason>(tdx.vp_enter_ret & 0xffff));
    if (is_tdcall(tdx))
        TRACE(vcpu.trace(), trace::Event::kvm_exit, name_of_reason(tdx.exit_reason), hw, trace::Absent{},
              trace::Absent{}, "td");
    else
        TRACE(vcpu.trace(), trace::Event::kvm_exit, name_of_reason(tdx.exit_reason), hw,
              tdx.exit_qualification, tdx.exit_gpa, "td");
}

Handled internal_error(Vcpu& vcpu)
{
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON;
    run.internal.ndata = 2;
    run.internal.data[0] = vcpu.tdx->vp_enter_ret;
    run.internal.data[1] = vcpu.cpu;
    return kToUser;
}

// KVM's quirk: the qualification's bits 7 and 8 never reach the error code.
u64 error_code_of(u64 qualification)
{
    u64 code = 0;
    code |= qualification & ept::qual::READ ? PFERR_USER_MASK : 0;
    code |= qualification & ept::qual::WRITE ? PFERR_WRITE_MASK : 0;
    code |= qualification & ept::qual::FETCH ? PFERR_FETCH_MASK : 0;
    code |= qualification & (ept::qual::WAS_R | ept::qual::WAS_W | ept::qual::WAS_X) ? PFERR_PRESENT_MASK : 0;
    return code;
}

Handled fault(Vcpu& vcpu, u64 gpa, u64 qualification, bool is_private)
{
    const u64 code = error_code_of(qualification) | (is_private ? PFERR_PRIVATE_ACCESS : 0);
    TRACE(vcpu.trace(), trace::Event::kvm_page_fault, gpa, qualification, code, is_private ? 1 : 0);
    return kvm_mmu_page_fault(vcpu, gpa, code, {});
}

// A private page that the TD has not accepted, in a TD that asked for no #VE: it can never go on.
bool is_fatal_pending(const VcpuTdx& tdx)
{
    using namespace ept::qual;
    return field(tdx.ext_exit_qualification, 3, 0) ==
               static_cast<u64>(ExtendedExitQual::PENDING_EPT_VIOLATION) &&
           !(tdx.exit_qualification & (WAS_R | WAS_W | WAS_X | WAS_XU));
}

// Each failed entry at the same instruction counts towards the module's zero-step mitigation, so retries stay
// here.
Handled private_fault(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    Vm& vm = vcpu.vm();
    if (is_fatal_pending(tdx)) {
        vm.mark_dead();
        return fail(Errno{EIO});
    }
    for (;;) {
        // Leaves of the secure EPT are writable; as a write, the fault never asks for a copy-on-write page.
        const int r = TRY(fault(vcpu, tdx.exit_gpa, ept::qual::WRITE, true));
        if (r != static_cast<int>(RET_PF_RETRY) || vcpu.signal_pending() || vm.ops.has_events(vcpu))
            return r;
        if (vm.dead())
            return fail(Errno{EIO});
        if (cpu::LogicalProcessor* lp = vm.kvm().processors().this_cpu())
            vm.kvm().processors().serve_calls(*lp);
        std::this_thread::yield();
    }
}

Handled tdx_handle_ept_violation(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    const bool shared = (tdx.exit_gpa & gpa_of(vcpu.vm().gfn_direct_bits).value()) != 0;
    if (!shared)
        return private_fault(vcpu);
    if (tdx.exit_qualification & ept::qual::FETCH) { // the module never lets a TD execute shared memory
        vcpu.vm().mark_bugged();
        return fail(Errno{EIO});
    }
    return fault(vcpu, tdx.exit_gpa, tdx.exit_qualification, false);
}

Handled handle_exception(Vcpu& vcpu)
{
    const u32 info = vcpu.tdx->exit_intr_info;
    const bool nmi = (info & intr_info::VALID) && intr_info::type(info) == intr_info::NMI;
    const bool machine_check =
        (info & intr_info::VALID) && intr_info::vector(info) == static_cast<u8>(Vector::MC);
    if (nmi || machine_check)
        return kResume;
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_EXCEPTION;
    run.ex.exception = intr_info::vector(info);
    run.ex.error_code = 0;
    return kToUser;
}

// 0 SUCCESS with reason 77: something the guest asked for, with its registers.
const char* tdvmcall_name(const cpu::SeamRegs& args)
{
    if (args.r10 != 0)
        return "VMCALL";
    switch (static_cast<Tdvmcall>(args.r11)) {
    case Tdvmcall::INSTRUCTION_CPUID:
        return "CPUID";
    case Tdvmcall::INSTRUCTION_HLT:
        return "HLT";
    case Tdvmcall::INSTRUCTION_IO:
        return "IO";
    case Tdvmcall::INSTRUCTION_RDMSR:
        return "RDMSR";
    case Tdvmcall::INSTRUCTION_WRMSR:
        return "WRMSR";
    case Tdvmcall::VE_REQUEST_MMIO:
        return "MMIO";
    case Tdvmcall::INSTRUCTION_WBINVD:
        return "WBINVD";
    case Tdvmcall::INSTRUCTION_PCONFIG:
        return "PCONFIG";
    case Tdvmcall::GET_TD_VM_CALL_INFO:
        return "GetTdVmCallInfo";
    case Tdvmcall::MAP_GPA:
        return "MapGPA";
    case Tdvmcall::GET_QUOTE:
        return "GetQuote";
    case Tdvmcall::REPORT_FATAL_ERROR:
        return "ReportFatalError";
    case Tdvmcall::SETUP_EVENT_NOTIFY_INTERRUPT:
        return "SetupEventNotifyInterrupt";
    case Tdvmcall::SERVICE:
        return "Service";
    }
    return "UNKNOWN";
}

Handled dispatch(Vcpu& vcpu)
{
    const u32 reason = vcpu.tdx->exit_reason;
    switch (static_cast<ExitReason>(reason == kNoReason ? 0xffff : reason & 0xffff)) {
    case ExitReason::TRIPLE_FAULT:
        vcpu.run().exit_reason = KVM_EXIT_SHUTDOWN;
        return kToUser;
    case ExitReason::EXCEPTION_NMI:
        return handle_exception(vcpu);
    case ExitReason::EXTERNAL_INTERRUPT:
    case ExitReason::OTHER_SMI:
        return kResume;
    case ExitReason::CPUID:
    case ExitReason::HLT:
    case ExitReason::MSR_READ:
    case ExitReason::MSR_WRITE:
        return tdx_emulate_instruction_call(vcpu, reason);
    case ExitReason::VMCALL:
        return tdx_emulate_vmcall(vcpu);
    case ExitReason::IO_INSTRUCTION:
        return tdx_emulate_io(vcpu);
    case ExitReason::EPT_MISCONFIG:
        return tdx_emulate_mmio(vcpu);
    case ExitReason::EPT_VIOLATION:
        return tdx_handle_ept_violation(vcpu);
    case ExitReason::TDCALL:
        return handle_tdvmcall(vcpu);
    default:
        return internal_error(vcpu);
    }
}

// The one event that KVM can inject into a TD: the module delivers it when the guest can take it. A second
// one that is pending collapses into the first.
void inject_nmi(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    cpu::SeamRegs regs{.rcx = vcpu.tdx->tdvpr.value(), .rdx = md::PEND_NMI, .r8 = 1, .r9 = 0xff};
    if (tdx_host(vcpu.vm()).seamcall_on(lp, TdhLeaf::VP_WR, regs) != 0)
        vcpu.vm().mark_bugged();
}

} // namespace

Handled tdx_vcpu_pre_run(Vcpu& vcpu)
{
    if (!vcpu.tdx->initialized || vcpu.vm().tdx->state != TdState::RUNNABLE)
        return fail(Errno{EINVAL});
    return kResume;
}

void tdx_load_mmu_pgd(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    cpu::SeamRegs regs{.rcx = vcpu.tdx->tdvpr.value(),
                       .rdx = md::vmcs_field(static_cast<u32>(VmcsField::SHARED_EPT_POINTER)),
                       .r8 = vcpu.vm().mmu.direct_root().value(),
                       .r9 = ~u64{0}};
    if (tdx_host(vcpu.vm()).seamcall_on(lp, TdhLeaf::VP_WR, regs) != 0)
        vcpu.vm().mark_bugged();
}

Fastpath tdx_vcpu_run(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    VcpuTdx& tdx = *vcpu.tdx;
    tdx.vp_enter_ret = 0;
    tdx.exit_reason = kNoReason;
    if (vcpu.vm().tdx->wait_for_sept_zap) {
        std::this_thread::yield();
        return Fastpath::EXIT_FASTPATH_EXIT_HANDLED;
    }
    if (vcpu.nmi_pending.load() != 0 && vcpu.nmi_pending.exchange(0) != 0)
        inject_nmi(vcpu, lp);
    // Interrupts that were posted while the vCPU was out: the processor takes them at the notification.
    if (test(__atomic_load_n(&tdx.pi().control, __ATOMIC_SEQ_CST), 0))
        lp.send_interrupt(POSTED_INTR_VECTOR);
    if (tdx.answer_pending) {
        TRACE(vcpu.trace(), trace::Event::kvm_tdx_vmcall_done, tdx.args.r10, tdx.args.r11);
        tdx.answer_pending = false;
    }
    TRACE(vcpu.trace(), trace::Event::kvm_entry, trace::Absent{});
    tdx.args.rcx = tdx.tdvpr.value();
    const u64 ret = tdx_host(vcpu.vm()).seamcall_on(lp, TdhLeaf::VP_ENTER, tdx.args);
    tdx.vp_enter_ret = ret;
    tdx.exit_reason = exit_reason_of(ret, tdx.args);
    tdx.exit_qualification = tdx.args.rcx;
    tdx.ext_exit_qualification = tdx.args.rdx;
    tdx.exit_gpa = tdx.args.r8;
    tdx.exit_intr_info = static_cast<u32>(tdx.args.r9);
    if (is_busy(ret))
        return Fastpath::EXIT_FASTPATH_EXIT_HANDLED;
    trace_exit(vcpu, tdx);
    if (tdx.exit_reason != kNoReason && is_tdcall(tdx)) {
        TRACE(vcpu.trace(), trace::Event::kvm_tdx_vmcall, tdvmcall_name(tdx.args), tdx.args.r12, tdx.args.r13,
              tdx.args.r14, tdx.args.r15);
        tdx.answer_pending = true;
    }
    return Fastpath::EXIT_FASTPATH_NONE;
}

Handled tdx_handle_exit(Vcpu& vcpu, Fastpath fastpath)
{
    const VcpuTdx& tdx = *vcpu.tdx;
    if (fastpath != Fastpath::EXIT_FASTPATH_NONE)
        return kResume;
    if (tdx.vp_enter_ret == static_cast<u64>(ExitReason::EPT_MISCONFIG)) {
        vcpu.vm().mark_bugged(); // KVM never installs a misconfigured entry for a TD
        return fail(Errno{EIO});
    }
    if ((tdx.vp_enter_ret & TDX_SW_ERROR) == TDX_SW_ERROR) {
        vcpu.vm().mark_bugged();
        return internal_error(vcpu);
    }
    const bool has_reason = tdx.exit_reason != kNoReason;
    if (has_reason && test(tdx.exit_reason, 31)) {
        vcpu.run().exit_reason = KVM_EXIT_FAIL_ENTRY;
        vcpu.run().fail_entry.hardware_entry_failure_reason = tdx.exit_reason;
        vcpu.run().fail_entry.cpu = vcpu.cpu;
        return kToUser;
    }
    const bool triple_fault = has_reason && tdx.exit_reason == static_cast<u32>(ExitReason::TRIPLE_FAULT);
    if ((tdx.vp_enter_ret & (bit(63) | bit(62))) && !triple_fault)
        return internal_error(vcpu);
    return dispatch(vcpu);
}

bool tdx_has_events(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    if (vcpu.nmi_pending)
        return true;
    const bool halted = tdx.exit_reason == static_cast<u32>(ExitReason::HLT);
    if (halted && tdx.args.r12 != 0)
        return false; // the guest halts with interrupts blocked
    PiDesc& pi = tdx.pi();
    if (test(__atomic_load_n(&pi.control, __ATOMIC_SEQ_CST), 0))
        return true;
    for (u64& word : pi.pir)
        if (__atomic_load_n(&word, __ATOMIC_SEQ_CST) != 0)
            return true;
    if (!halted)
        return false;
    // Raised just before the exit. It was looked at then, on the processor that ran the vCPU, and what the
    // virtual APIC holds does not change while the vCPU is out.
    cpu::LogicalProcessor* lp = vcpu.vm().kvm().processors().this_cpu();
    if (!lp || tdx.associated != lp->id())
        return false;
    cpu::SeamRegs regs{.rcx = tdx.tdvpr.value(), .rdx = md::VCPU_STATE_DETAILS};
    return tdx_host(vcpu.vm()).seamcall_on(*lp, TdhLeaf::VP_RD, regs) == 0 && (regs.r8 & md::VMXIP);
}

void tdx_deliver_interrupt(Vcpu& vcpu, u8 vector)
{
    PiDesc& pi = vcpu.tdx->pi();
    if (__atomic_fetch_or(&pi.pir[vector / 64], bit(vector % 64), __ATOMIC_SEQ_CST) & bit(vector % 64))
        return;
    if (__atomic_fetch_or(&pi.control, bit(0), __ATOMIC_SEQ_CST) & bit(0))
        return;
    if (cpu::LogicalProcessor* lp = vcpu.running_on.load(); lp && vcpu.in_guest())
        lp->send_interrupt(POSTED_INTR_VECTOR);
    else
        vcpu.make_request(KVM_REQ_UNBLOCK);
}

} // namespace seamless::kvm
