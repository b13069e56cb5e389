// SPDX-License-Identifier: Apache-2.0
// The ioctls of interrupts and events: messages, routes and irqfds of a VM; APIC, events and run states of a
// vCPU.
#include "uapi/interrupt_ioctls.h"

#include "kvm/backend_vmx/vmx.h"

namespace seamless::uapi {

using namespace spec::kvm;

IoctlResult signal_msi(const Call& c)
{
    return kvm::kvm_send_userspace_msi(*c.file.vm, TRY(get_user<kvm_msi>(c.arg)));
}

// DEVIATION: there is no 8259 and no IOAPIC in the kernel; VMMs split the irqchip, or keep all of it.
IoctlResult create_irqchip(const Call& c)
{
    const std::lock_guard guard(c.file.vm->lock);
    return fail(Errno{c.file.vm->irqchip_split ? EEXIST : ENOTTY});
}

static IoctlResult set_irq_line(const Call& c, kvm_irq_level& line)
{
    if (!c.file.vm->irqchip_split)
        return fail(Errno{ENXIO});
    line.irq = static_cast<u32>(c.file.vm->irq_routing.set_irq(*c.file.vm, line.irq, line.level != 0));
    return 0;
}

IoctlResult irq_line(const Call& c)
{
    auto line = TRY(get_user<kvm_irq_level>(c.arg));
    return set_irq_line(c, line);
}

IoctlResult irq_line_status(const Call& c)
{
    auto line = TRY(get_user<kvm_irq_level>(c.arg));
    TRY(set_irq_line(c, line));
    TRY(put_user(c.arg, line));
    return 0;
}

IoctlResult set_gsi_routing(const Call& c)
{
    const auto header = TRY(get_user<kvm_irq_routing>(c.arg));
    if (!c.file.vm->irqchip_split || header.nr > KVM_MAX_IRQ_ROUTES || header.flags)
        return fail(Errno{EINVAL});
    std::vector<kvm_irq_routing_entry> entries(header.nr);
    TRY(copy_from_user(entries.data(), c.arg + sizeof header, entries.size() * sizeof entries[0]));
    TRY(c.file.vm->irq_routing.set(*c.file.vm, entries));
    return 0;
}

IoctlResult irqfd(const Call& c)
{
    TRY(c.file.vm->irqfds.ioctl(TRY(get_user<kvm_irqfd>(c.arg))));
    return 0;
}

IoctlResult get_mp_state(const Call& c)
{
    TRY(put_user(c.arg, kvm_mp_state{c.file.vcpu->mp_state()}));
    return 0;
}

IoctlResult set_mp_state(const Call& c)
{
    const u32 state = TRY(get_user<kvm_mp_state>(c.arg)).mp_state;
    kvm::Vcpu& vcpu = *c.file.vcpu;
    if (state > KVM_MP_STATE_SIPI_RECEIVED || (!vcpu.vm().irqchip_split && state != KVM_MP_STATE_RUNNABLE))
        return fail(Errno{EINVAL});
    if (state == KVM_MP_STATE_SIPI_RECEIVED) { // an INIT that was taken, and the SIPI still to come
        vcpu.set_mp_state(KVM_MP_STATE_INIT_RECEIVED);
        vcpu.receive_sipi(vcpu.sipi_vector());
        return 0;
    }
    vcpu.set_mp_state(state);
    return 0;
}

IoctlResult interrupt(const Call& c)
{
    const auto args = TRY(get_user<kvm_interrupt>(c.arg));
    kvm::Vcpu& vcpu = *c.file.vcpu;
    if (args.irq >= 256)
        return fail(Errno{EINVAL});
    if (vcpu.vm().irqchip_split && vcpu.external_vector >= 0)
        return fail(Errno{EEXIST});
    vcpu.external_vector = static_cast<int>(args.irq);
    vcpu.make_request(kvm::KVM_REQ_EVENT);
    return 0;
}

IoctlResult nmi(const Call& c)
{
    c.file.vcpu->inject_nmi();
    return 0;
}

constexpr u32 kKnownEvents = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
                             KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;

// A TD's interrupt shadow and NMI blocking are the module's; what waits in KVM can be seen and set.
IoctlResult get_vcpu_events(const Call& c)
{
    kvm::Vcpu& vcpu = *c.file.vcpu;
    kvm_vcpu_events events{};
    if (vcpu.vmx)
        kvm::vmx_get_events(vcpu, events);
    events.nmi.pending = static_cast<u8>(vcpu.nmi_pending.load());
    events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
    TRY(put_user(c.arg, events));
    return 0;
}

IoctlResult set_vcpu_events(const Call& c)
{
    const auto events = TRY(get_user<kvm_vcpu_events>(c.arg));
    kvm::Vcpu& vcpu = *c.file.vcpu;
    const bool smm = (events.flags & KVM_VCPUEVENT_VALID_SMM) && (events.smi.smm || events.smi.pending);
    if ((events.flags & ~kKnownEvents) || smm)
        return fail(Errno{EINVAL});
    if (vcpu.vmx)
        TRY(kvm::vmx_set_events(vcpu, events));
    if (events.flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
        vcpu.nmi_pending.store(events.nmi.pending);
    if (events.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR)
        vcpu.set_sipi_vector(static_cast<u8>(events.sipi_vector));
    const bool latched_init = (events.flags & KVM_VCPUEVENT_VALID_SMM) && events.smi.latched_init;
    if (latched_init && !vcpu.vm().ops.apic_init_signal_blocked(vcpu))
        vcpu.receive_init();
    vcpu.make_request(kvm::KVM_REQ_EVENT);
    return 0;
}

static bool ids_32bit(kvm::Vcpu& vcpu) { return vcpu.vm().x2apic_format & KVM_X2APIC_API_USE_32BIT_IDS; }

IoctlResult get_lapic(const Call& c)
{
    kvm::Vcpu& vcpu = *c.file.vcpu;
    if (!vcpu.vm().irqchip_split)
        return fail(Errno{EINVAL});
    kvm_lapic_state state{};
    vcpu.lapic.get_state(state, ids_32bit(vcpu));
    TRY(put_user(c.arg, state));
    return 0;
}

IoctlResult set_lapic(const Call& c)
{
    kvm::Vcpu& vcpu = *c.file.vcpu;
    if (!vcpu.vm().irqchip_split)
        return fail(Errno{EINVAL});
    TRY(vcpu.lapic.set_state(TRY(get_user<kvm_lapic_state>(c.arg)), ids_32bit(vcpu)));
    vcpu.make_request(kvm::KVM_REQ_EVENT);
    return 0;
}

} // namespace seamless::uapi
