// SPDX-License-Identifier: Apache-2.0
// VM exits of plain VMs: a table of handlers by exit reason.
#include <cstring>

#include "base/row_index.h"
#include "base/table.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/emulate.h"
#include "kvm/hypercall.h"
#include "kvm/mmu/mmu.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

cpu::Vmcs& vmcs(Vcpu& vcpu) { return vcpu.vmx->vmcs; }
cpu::GuestContext& context(Vcpu& vcpu) { return vcpu.vmx->context; }

u64 read_gpr(Vcpu& vcpu, unsigned n) { return n == 4 ? vmcs(vcpu).rsp : context(vcpu).gpr[n]; }

Handled raise(Vcpu& vcpu, Vector vector)
{
    vmx_queue_exception(vcpu, vector);
    return kResume;
}
Handled handle_undefined(Vcpu& vcpu) { return raise(vcpu, Vector::UD); }
Handled handle_protection(Vcpu& vcpu) { return raise(vcpu, Vector::GP); }
Handled handle_nothing(Vcpu&) { return kResume; }

Handled handle_skip(Vcpu& vcpu)
{
    vmx_skip_instruction(vcpu);
    return vmx_steps(*vcpu.vmx) ? vmx_do_singlestep(vcpu) : Handled{kResume};
}

Handled handle_exception(Vcpu& vcpu)
{
    const u32 info = vmcs(vcpu).exit_intr_info;
    if (intr_info::type(info) == intr_info::NMI || intr_info::vector(info) == static_cast<u8>(Vector::MC))
        return kResume;
    const auto vector = static_cast<Vector>(intr_info::vector(info));
    if (vector == Vector::DB || vector == Vector::BP)
        return vmx_handle_debug_exception(vcpu, vector);
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_EXCEPTION;
    run.ex.exception = intr_info::vector(info);
    run.ex.error_code = vmcs(vcpu).exit_intr_error_code;
    return kToUser;
}

Handled handle_triple_fault(Vcpu& vcpu)
{
    vcpu.run().exit_reason = KVM_EXIT_SHUTDOWN;
    return kToUser;
}

Handled handle_interrupt_window(Vcpu& vcpu)
{
    // User space keeps its own interrupt controller and asked to know when it may inject.
    if (vcpu.external_vector >= 0 || !vcpu.run().request_interrupt_window)
        return kResume;
    vcpu.run().exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
    return kToUser;
}

Handled handle_cpuid(Vcpu& vcpu)
{
    cpu::GuestContext& c = context(vcpu);
    u32 eax = static_cast<u32>(c[Gpr::rax]), ecx = static_cast<u32>(c[Gpr::rcx]), ebx = 0, edx = 0;
    vmx_cpuid(vcpu, eax, ebx, ecx, edx);
    c[Gpr::rax] = eax;
    c[Gpr::rbx] = ebx;
    c[Gpr::rcx] = ecx;
    c[Gpr::rdx] = edx;
    return handle_skip(vcpu);
}

Handled handle_hlt(Vcpu& vcpu)
{
    vmx_skip_instruction(vcpu);
    if (!vcpu.vm().irqchip_split) {
        vcpu.run().exit_reason = KVM_EXIT_HLT;
        return kToUser;
    }
    vcpu.set_mp_state(vmx_has_events(vcpu) ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_HALTED);
    return kResume;
}

u64 merge_into_rax(u64 rax, u64 value, unsigned size)
{
    return size == 4 ? value : (rax & ~truncate(~u64{0}, size)) | value;
}

Handled complete_pio_in(Vcpu& vcpu, unsigned size, u16 port)
{
    u64 value = 0;
    std::memcpy(&value, vcpu.pio_data(), size);
    TRACE(vcpu.trace(), trace::Event::kvm_pio, "read", size, port, value);
    context(vcpu)[Gpr::rax] = merge_into_rax(context(vcpu)[Gpr::rax], value, size);
    return handle_skip(vcpu);
}

Handled handle_io(Vcpu& vcpu)
{
    const u64 q = vmcs(vcpu).exit_qualification;
    const unsigned size = io_qual::size(q);
    const u16 port = io_qual::port(q);
    const bool in = q & io_qual::IN;
    if (q & io_qual::STRING)
        return x86_emulate_instruction(vcpu, 0, 0, {});
    u64 value = in ? 0 : truncate(context(vcpu)[Gpr::rax], size);
    IoBus& bus = vcpu.vm().bus(BusId::KVM_PIO_BUS);
    const bool served = in ? bus.read(port, size, &value) : bus.write(port, size, &value);
    if (!in)
        TRACE(vcpu.trace(), trace::Event::kvm_pio, "write", size, port, value);
    if (served) {
        if (in) {
            TRACE(vcpu.trace(), trace::Event::kvm_pio, "read", size, port, value);
            context(vcpu)[Gpr::rax] = merge_into_rax(context(vcpu)[Gpr::rax], value, size);
        }
        return handle_skip(vcpu);
    }
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_IO;
    run.io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
    run.io.size = static_cast<u8>(size);
    run.io.port = port;
    run.io.count = 1;
    run.io.data_offset = kPageSize * KVM_PIO_PAGE_OFFSET;
    std::memcpy(vcpu.pio_data(), &value, size);
    // KVM's rule: if user space moved RIP meanwhile (a reset), the instruction is not skipped.
    const u64 rip = vmcs(vcpu).rip;
    vcpu.complete_userspace_io = [=](Vcpu& v) -> Handled {
        if (vmcs(v).rip != rip)
            return kResume;
        return in ? complete_pio_in(v, size, port) : handle_skip(v);
    };
    return kToUser;
}

// Which of KVM's two failures it was: there is no such MSR, or the access is not allowed.
u32 msr_failure(Errno why)
{
    return why == Errno{ENOENT} ? KVM_MSR_EXIT_REASON_UNKNOWN : KVM_MSR_EXIT_REASON_INVAL;
}

Handled msr_failed(Vcpu& vcpu, u32 exit_reason, u32 index, u64 data, u32 reason)
{
    if (!(vcpu.vm().user_space_msr_mask & reason))
        return raise(vcpu, Vector::GP);
    kvm_run& run = vcpu.run();
    run.exit_reason = exit_reason;
    run.msr.error = 0;
    run.msr.reason = reason;
    run.msr.index = index;
    run.msr.data = data;
    vcpu.complete_userspace_io = [exit_reason](Vcpu& v) -> Handled {
        const auto& msr = v.run().msr;
        if (msr.error)
            return raise(v, Vector::GP);
        if (exit_reason == KVM_EXIT_X86_RDMSR) {
            context(v)[Gpr::rax] = static_cast<u32>(msr.data);
            context(v)[Gpr::rdx] = msr.data >> 32;
        }
        return handle_skip(v);
    };
    return kToUser;
}

Handled handle_rdmsr(Vcpu& vcpu)
{
    const auto index = static_cast<u32>(context(vcpu)[Gpr::rcx]);
    if (!vcpu.vm().msr_filter.allows(index, KVM_MSR_FILTER_READ))
        return msr_failed(vcpu, KVM_EXIT_X86_RDMSR, index, 0, KVM_MSR_EXIT_REASON_FILTER);
    const auto value = vcpu.vm().ops.get_msr(vcpu, index, false);
    if (!value)
        return msr_failed(vcpu, KVM_EXIT_X86_RDMSR, index, 0, msr_failure(value.error()));
    context(vcpu)[Gpr::rax] = static_cast<u32>(value.value());
    context(vcpu)[Gpr::rdx] = value.value() >> 32;
    return handle_skip(vcpu);
}

Handled handle_wrmsr(Vcpu& vcpu)
{
    const auto index = static_cast<u32>(context(vcpu)[Gpr::rcx]);
    const u64 data = context(vcpu)[Gpr::rdx] << 32 | static_cast<u32>(context(vcpu)[Gpr::rax]);
    if (!vcpu.vm().msr_filter.allows(index, KVM_MSR_FILTER_WRITE))
        return msr_failed(vcpu, KVM_EXIT_X86_WRMSR, index, data, KVM_MSR_EXIT_REASON_FILTER);
    if (const auto set = vcpu.vm().ops.set_msr(vcpu, index, data, false); !set)
        return msr_failed(vcpu, KVM_EXIT_X86_WRMSR, index, data, msr_failure(set.error()));
    return handle_skip(vcpu);
}

Handled handle_cr8(Vcpu& vcpu, bool write, unsigned gpr)
{
    if (!write) {
        (gpr == 4 ? vmcs(vcpu).rsp : context(vcpu).gpr[gpr]) = vmx_cr8(vcpu);
        return handle_skip(vcpu);
    }
    const u64 value = read_gpr(vcpu, gpr);
    if (value > 15)
        return raise(vcpu, Vector::GP);
    const u64 before = vmx_cr8(vcpu);
    vmx_set_cr8(vcpu, value);
    const Handled skipped = handle_skip(vcpu);
    if (vcpu.vm().irqchip_split || before <= value)
        return skipped;
    vcpu.run().exit_reason = KVM_EXIT_SET_TPR; // user space's APIC may have an interrupt that it held back
    return kToUser;
}

// SDM: "Exit Qualification for Control-Register Accesses". Only writes that change an owned bit exit.
Handled handle_cr_access(Vcpu& vcpu)
{
    const u64 q = vmcs(vcpu).exit_qualification;
    const auto cr = static_cast<unsigned>(field(q, 3, 0)), type = static_cast<unsigned>(field(q, 5, 4));
    constexpr unsigned kMovToCr = 0, kLmsw = 3;
    u64 value = read_gpr(vcpu, static_cast<unsigned>(field(q, 11, 8)));
    constexpr unsigned kMovFromCr = 1;
    if (cr == 8 && (type == kMovToCr || type == kMovFromCr))
        return handle_cr8(vcpu, type == kMovToCr, static_cast<unsigned>(field(q, 11, 8)));
    if (cr == 0 && type == kLmsw)
        value = (vmx_cr0(*vcpu.vmx) & ~u64{0xe}) | (field(q, 31, 16) & 0xf);
    else if (type != kMovToCr)
        return raise(vcpu, Vector::UD);
    if (cr == 0) {
        const bool enables_paging = (value & cr0::PG) && !(vmcs(vcpu).cr0 & cr0::PG);
        const u64 e = vmcs(vcpu).efer;
        if ((value & cr0::PG) && !(value & cr0::PE))
            return raise(vcpu, Vector::GP);
        if (enables_paging && (e & efer::LME) && !(vmcs(vcpu).cr4 & cr4::PAE))
            return raise(vcpu, Vector::GP);
        if (e & efer::LME)
            vmcs(vcpu).efer = value & cr0::PG ? e | efer::LMA : e & ~efer::LMA;
        vmx_set_cr0(*vcpu.vmx, value);
    } else if (cr == 4) {
        if (value & cr4::VMXE) // no nested virtualization
            return raise(vcpu, Vector::GP);
        vmx_set_cr4(*vcpu.vmx, value);
    } else {
        return raise(vcpu, Vector::UD);
    }
    return handle_skip(vcpu);
}

Handled handle_dr(Vcpu& vcpu)
{
    return vmx_access_dr(vcpu, vmcs(vcpu).exit_qualification) ? handle_skip(vcpu) : raise(vcpu, Vector::GP);
}

Handled handle_xsetbv(Vcpu& vcpu)
{
    cpu::GuestContext& c = context(vcpu);
    const u64 value = c[Gpr::rdx] << 32 | static_cast<u32>(c[Gpr::rax]);
    const kvm_cpuid_entry2* leaf = find_cpuid_entry(vcpu, 0xd, 0);
    const u64 allowed = leaf ? leaf->eax | u64{leaf->edx} << 32 : 3;
    constexpr u64 kAvx = bit(2), kSse = bit(1), kAvx512 = bits(7, 5);
    const bool legal = static_cast<u32>(c[Gpr::rcx]) == 0 && (value & 1) && !(value & ~allowed) &&
                       (!(value & kAvx) || (value & kSse)) &&
                       (!(value & kAvx512) || ((value & kAvx512) == kAvx512 && (value & kAvx)));
    if (!legal)
        return raise(vcpu, Vector::GP);
    c.xcr0 = value;
    return handle_skip(vcpu);
}

bool in_long_mode(Vcpu& vcpu)
{
    const u32 cs = vmcs(vcpu).seg[static_cast<unsigned>(Seg::cs)].ar;
    return (vmcs(vcpu).efer & efer::LMA) && (cs & segment_ar::L);
}

Handled end_vmcall(Vcpu& vcpu, u64 result)
{
    context(vcpu)[Gpr::rax] = in_long_mode(vcpu) ? result : static_cast<u32>(result);
    return handle_skip(vcpu);
}

Handled handle_vmcall(Vcpu& vcpu)
{
    const cpu::GuestContext& c = context(vcpu);
    const u32 ss = vmcs(vcpu).seg[static_cast<unsigned>(Seg::ss)].ar;
    const auto result = kvm_hypercall(vcpu, {.nr = c[Gpr::rax],
                                             .args = {c[Gpr::rbx], c[Gpr::rcx], c[Gpr::rdx]},
                                             .long_mode = in_long_mode(vcpu),
                                             .cpl = static_cast<unsigned>(field(ss, 6, 5))});
    if (result)
        return end_vmcall(vcpu, *result);
    vcpu.complete_userspace_io = [](Vcpu& v) { return end_vmcall(v, v.run().hypercall.ret); };
    return kToUser;
}

Handled handle_ept_violation(Vcpu& vcpu)
{
    cpu::Vmcs& v = vmcs(vcpu);
    const u64 q = v.exit_qualification;
    // An IRET that unblocked NMIs did not complete.
    if (!(v.idt_vectoring_info & intr_info::VALID) && (q & ept::qual::NMI_UNBLOCK))
        v.interruptibility |= interruptibility::NMI;
    u64 code = q & ept::qual::READ ? PFERR_USER_MASK : 0;
    code |= q & ept::qual::WRITE ? PFERR_WRITE_MASK : 0;
    code |= q & ept::qual::FETCH ? PFERR_FETCH_MASK : 0;
    code |= q & (ept::qual::WAS_R | ept::qual::WAS_W | ept::qual::WAS_X) ? PFERR_PRESENT_MASK : 0;
    TRACE(vcpu.trace(), trace::Event::kvm_page_fault, v.guest_physical_address, q, code, 0);
    return kvm_mmu_page_fault(vcpu, v.guest_physical_address, code, {});
}

Handled handle_ept_misconfig(Vcpu& vcpu)
{
    const u64 gpa = vmcs(vcpu).guest_physical_address;
    if (vcpu.vm().ops.check_emulate_instruction(vcpu, EMULTYPE_PF, {}) != X86EMUL_CONTINUE)
        return kResume;
    // The direction is not known here: the wildcard ioeventfd fires for reads too, as in KVM.
    if (vcpu.vm().bus(BusId::KVM_FAST_MMIO_BUS).write(gpa, 0, nullptr)) {
        TRACE(vcpu.trace(), trace::Event::kvm_fast_mmio, gpa);
        return handle_skip(vcpu);
    }
    return kvm_mmu_page_fault(vcpu, gpa, PFERR_RSVD_MASK, {});
}

struct ExitRow {
    ExitReason reason;
    Handled (*handle)(Vcpu&);
};

// clang-format off
constexpr ExitRow kExits[] = {
    {ExitReason::EXCEPTION_NMI,       handle_exception},
    {ExitReason::EXTERNAL_INTERRUPT,  handle_nothing},
    {ExitReason::TRIPLE_FAULT,        handle_triple_fault},
    {ExitReason::INTERRUPT_WINDOW,    handle_interrupt_window},
    {ExitReason::NMI_WINDOW,          handle_nothing},
    {ExitReason::CPUID,               handle_cpuid},
    {ExitReason::HLT,                 handle_hlt},
    {ExitReason::INVD,                handle_skip},
    {ExitReason::RDPMC,               handle_protection},
    {ExitReason::VMCALL,              handle_vmcall},
    {ExitReason::VMCLEAR,             handle_undefined},
    {ExitReason::VMLAUNCH,            handle_undefined},
    {ExitReason::VMPTRLD,             handle_undefined},
    {ExitReason::VMPTRST,             handle_undefined},
    {ExitReason::VMREAD,              handle_undefined},
    {ExitReason::VMRESUME,            handle_undefined},
    {ExitReason::VMWRITE,             handle_undefined},
    {ExitReason::VMOFF,               handle_undefined},
    {ExitReason::VMON,                handle_undefined},
    {ExitReason::CR_ACCESS,           handle_cr_access},
    {ExitReason::DR_ACCESS,           handle_dr},
    {ExitReason::IO_INSTRUCTION,      handle_io},
    {ExitReason::MSR_READ,            handle_rdmsr},
    {ExitReason::MSR_WRITE,           handle_wrmsr},
    {ExitReason::MWAIT_INSTRUCTION,   handle_undefined},
    {ExitReason::MONITOR_INSTRUCTION, handle_undefined},
    {ExitReason::EPT_VIOLATION,       handle_ept_violation},
    {ExitReason::EPT_MISCONFIG,       handle_ept_misconfig},
    {ExitReason::INVEPT,              handle_undefined},
    {ExitReason::INVVPID,             handle_undefined},
    {ExitReason::WBINVD,              handle_skip},
    {ExitReason::XSETBV,              handle_xsetbv},
    {ExitReason::VMFUNC,              handle_undefined},
    {ExitReason::SEAMCALL,            handle_undefined},
    {ExitReason::TDCALL,              handle_undefined},
};
// clang-format on
static_assert(base::strictly_ascending(kExits, &ExitRow::reason));
constexpr auto kExitIndex = base::index_rows<128>(kExits, &ExitRow::reason);

Handled internal_error(Vcpu& vcpu, u32 suberror)
{
    const cpu::Vmcs& v = vmcs(vcpu);
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = suberror;
    if (suberror == KVM_INTERNAL_ERROR_DELIVERY_EV) {
        run.internal.ndata = 5;
        const u64 data[] = {v.idt_vectoring_info, v.exit_reason, v.exit_qualification, ~u64{0}, vcpu.cpu};
        std::memcpy(run.internal.data, data, sizeof data);
    } else {
        run.internal.ndata = 2;
        run.internal.data[0] = v.exit_reason;
        run.internal.data[1] = vcpu.cpu;
    }
    return kToUser;
}

// Exits that may interrupt the delivery of an event without KVM losing it.
bool may_interrupt_delivery(ExitReason reason)
{
    return reason == ExitReason::EXCEPTION_NMI || reason == ExitReason::EPT_VIOLATION ||
           reason == ExitReason::PML_FULL || reason == ExitReason::APIC_ACCESS ||
           reason == ExitReason::TASK_SWITCH || reason == ExitReason::NOTIFY ||
           reason == ExitReason::EPT_MISCONFIG;
}

} // namespace

Handled vmx_handle_exit(Vcpu& vcpu, Fastpath fastpath)
{
    if (fastpath != Fastpath::EXIT_FASTPATH_NONE)
        return kResume;
    const cpu::Vmcs& v = vmcs(vcpu);
    if (test(v.exit_reason, 31)) {
        vcpu.run().exit_reason = KVM_EXIT_FAIL_ENTRY;
        vcpu.run().fail_entry.hardware_entry_failure_reason = v.exit_reason;
        vcpu.run().fail_entry.cpu = vcpu.cpu;
        return kToUser;
    }
    const auto reason = static_cast<ExitReason>(v.exit_reason & 0xffff);
    const bool external =
        reason == ExitReason::EXTERNAL_INTERRUPT; // of the host: the guest's event is delivered again
    if ((v.idt_vectoring_info & intr_info::VALID) && !may_interrupt_delivery(reason) && !external)
        return internal_error(vcpu, KVM_INTERNAL_ERROR_DELIVERY_EV);
    const ExitRow* row = kExitIndex.find(reason);
    if (!row)
        return internal_error(vcpu, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
    return row->handle(vcpu);
}

} // namespace seamless::kvm
