// SPDX-License-Identifier: Apache-2.0
// Events of a plain VM: what the next entry injects, in KVM's order, and what KVM_GET_VCPU_EVENTS shows of
// it.
#include "kvm/backend_vmx/vmx.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

constexpr u32 kShadow = interruptibility::STI | interruptibility::MOV_SS;

bool event_waits(const VcpuVmx& vmx) { return vmx.inject_info & intr_info::VALID; }

bool nmi_allowed(const cpu::Vmcs& v) { return !(v.interruptibility & (interruptibility::NMI | kShadow)); }

// User space's interrupt: an 8259's, so with an APIC here it passes through LINT0.
bool has_external(Vcpu& vcpu)
{
    return vcpu.external_vector >= 0 && (!vcpu.vm().irqchip_split || vcpu.lapic.accepts_external());
}

bool has_interrupt(Vcpu& vcpu)
{
    return has_external(vcpu) || (vcpu.vm().irqchip_split && vcpu.lapic.pending() >= 0);
}

// The vector to deliver now, which thereby is in service; -1: there is none.
int take_interrupt(Vcpu& vcpu)
{
    if (has_external(vcpu))
        return std::exchange(vcpu.external_vector, -1);
    return vcpu.vm().irqchip_split ? vcpu.lapic.acknowledge() : -1;
}

bool is_exception(u32 info)
{
    const u32 type = intr_info::type(info);
    return type == intr_info::HARDWARE_EXCEPTION || type == intr_info::SOFTWARE_EXCEPTION ||
           type == intr_info::PRIVILEGED_SOFTWARE_EXCEPTION;
}

} // namespace

bool vmx_interrupts_allowed(const cpu::Vmcs& v)
{
    return (v.rflags & rflags::IF) && !(v.interruptibility & kShadow);
}

// An interrupted or raised event first, then NMI, then interrupts. What cannot be taken yet asks for a
// window.
void vmx_inject_events(Vcpu& vcpu)
{
    VcpuVmx& vmx = *vcpu.vmx;
    cpu::Vmcs& v = vmx.vmcs;
    v.proc_based &= ~(proc::INTERRUPT_WINDOW_EXITING | proc::NMI_WINDOW_EXITING);
    v.entry_intr_info = 0;
    if (event_waits(vmx)) {
        v.entry_intr_info = vmx.inject_info;
        v.entry_exception_error_code = vmx.inject_error;
        v.entry_instruction_len = vmx.inject_length;
        vmx.inject_info = 0;
    } else if (vmx.guest_debug & KVM_GUESTDBG_BLOCKIRQ) {
        return; // they stay pending
    } else if (vcpu.nmi_pending.load() != 0 && nmi_allowed(v)) {
        v.entry_intr_info = intr_info::VALID | intr_info::NMI | static_cast<u32>(Vector::NMI);
        vcpu.nmi_pending.fetch_sub(1);
    } else if (vmx_interrupts_allowed(v)) {
        if (const int vector = take_interrupt(vcpu); vector >= 0)
            v.entry_intr_info = intr_info::VALID | intr_info::EXTERNAL | static_cast<u32>(vector);
    }
    if (vcpu.nmi_pending.load() != 0)
        v.proc_based |= proc::NMI_WINDOW_EXITING;
    if (has_interrupt(vcpu) || vcpu.run().request_interrupt_window)
        v.proc_based |= proc::INTERRUPT_WINDOW_EXITING;
}

// An exit during the delivery of an event: it is delivered again. SDM: "Information for VM Exits That Occur
// During Event Delivery".
void vmx_complete_interrupts(VcpuVmx& vmx)
{
    cpu::Vmcs& v = vmx.vmcs;
    if (!(v.idt_vectoring_info & intr_info::VALID))
        return;
    vmx.inject_info = v.idt_vectoring_info & ~intr_info::NMI_UNBLOCKED;
    vmx.inject_error = v.idt_vectoring_error_code;
    vmx.inject_length = v.exit_instruction_len;
    if (intr_info::type(vmx.inject_info) == intr_info::NMI)
        v.interruptibility &= ~interruptibility::NMI; // or the entry that delivers it again would be refused
}

bool vmx_has_events(Vcpu& vcpu)
{
    const VcpuVmx& vmx = *vcpu.vmx;
    return (vcpu.nmi_pending.load() != 0 && nmi_allowed(vmx.vmcs)) || event_waits(vmx) ||
           (vmx_interrupts_allowed(vmx.vmcs) && has_interrupt(vcpu));
}

bool vmx_ready_for_injection(Vcpu& vcpu)
{
    const VcpuVmx& vmx = *vcpu.vmx;
    return (!vcpu.vm().irqchip_split || vcpu.lapic.accepts_external()) && vcpu.external_vector < 0 &&
           !event_waits(vmx) && vmx_interrupts_allowed(vmx.vmcs);
}

void vmx_deliver_interrupt(Vcpu& vcpu, u8 vector, bool level_triggered)
{
    vcpu.lapic.request(vector, level_triggered);
    vcpu.make_request(KVM_REQ_EVENT);
}

u64 vmx_cr8(Vcpu& vcpu)
{
    return vcpu.vm().irqchip_split ? vcpu.lapic.task_priority() >> 4 : vcpu.vmx->context.cr8;
}

void vmx_set_cr8(Vcpu& vcpu, u64 value)
{
    vcpu.vmx->context.cr8 = value;
    if (vcpu.vm().irqchip_split)
        vcpu.lapic.set_task_priority(static_cast<u8>(value << 4));
}

void vmx_get_events(Vcpu& vcpu, kvm_vcpu_events& events)
{
    const VcpuVmx& vmx = *vcpu.vmx;
    const u32 info = event_waits(vmx) ? vmx.inject_info : 0;
    if (info && is_exception(info)) {
        events.exception.injected = 1;
        events.exception.nr = intr_info::vector(info);
        events.exception.has_error_code = (info & intr_info::ERROR_CODE) != 0;
        events.exception.error_code = vmx.inject_error;
    } else if (info && intr_info::type(info) == intr_info::EXTERNAL) {
        events.interrupt.injected = 1;
        events.interrupt.nr = intr_info::vector(info);
    }
    const u32 shadow = vmx.vmcs.interruptibility;
    events.interrupt.shadow =
        static_cast<u8>((shadow & interruptibility::STI ? KVM_X86_SHADOW_INT_STI : 0) |
                        (shadow & interruptibility::MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0));
    events.nmi.injected = info && intr_info::type(info) == intr_info::NMI;
    events.nmi.masked = (shadow & interruptibility::NMI) != 0;
}

Result<void, Errno> vmx_set_events(Vcpu& vcpu, const kvm_vcpu_events& events)
{
    constexpr u8 kLastException = 31;
    const bool exception = events.exception.injected || events.exception.pending;
    const bool is_nmi = events.exception.nr == static_cast<u8>(Vector::NMI);
    if (exception && (events.exception.nr > kLastException || is_nmi))
        return fail(Errno{EINVAL});
    VcpuVmx& vmx = *vcpu.vmx;
    vmx.inject_info = 0;
    if (exception) {
        vmx_queue_exception(vcpu, static_cast<Vector>(events.exception.nr), events.exception.error_code);
        vmx.inject_info &= events.exception.has_error_code ? ~0u : ~intr_info::ERROR_CODE;
    } else if (events.interrupt.injected && !events.interrupt.soft) {
        vmx.inject_info = intr_info::VALID | intr_info::EXTERNAL | events.interrupt.nr;
    } else if (events.nmi.injected) {
        vmx.inject_info = intr_info::VALID | intr_info::NMI | static_cast<u32>(Vector::NMI);
    }
    u32& state = vmx.vmcs.interruptibility;
    if (events.flags & KVM_VCPUEVENT_VALID_SHADOW) {
        state &= ~kShadow;
        state |= events.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? interruptibility::STI : 0;
        state |= events.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? interruptibility::MOV_SS : 0;
    }
    state = events.nmi.masked ? state | interruptibility::NMI : state & ~interruptibility::NMI;
    return {};
}

} // namespace seamless::kvm
