// SPDX-License-Identifier: Apache-2.0
// Destinations as KVM matches them, its quirks included, and what each delivery mode does to a vCPU.
#include "kvm/irqchip/irq.h"

#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::apic;

Irq irq_of_icr(u32 low, u32 high, bool x2apic)
{
    return {.dest_id = x2apic ? high : high >> 24,
            .vector = static_cast<u8>(low),
            .mode = static_cast<DeliveryMode>(field(low, 10, 8)),
            .logical = (low & ICR_LOGICAL) != 0,
            .assert = (low & ICR_ASSERT) != 0,
            .level_triggered = (low & ICR_LEVEL) != 0,
            .shorthand = static_cast<Shorthand>(field(low, 19, 18))};
}

Irq irq_of_msi(u32 address_lo, u32 address_hi, u32 data, bool ids_32bit)
{
    const auto low_id = static_cast<u32>(field(address_lo, 19, 12));
    return {.dest_id = low_id | (ids_32bit ? address_hi & 0xffffff00 : 0),
            .vector = static_cast<u8>(data),
            .mode = static_cast<DeliveryMode>(field(data, 10, 8)),
            .logical = test(address_lo, 2),
            .assert = true,
            .level_triggered = test(data, 15),
            .shorthand = Shorthand::none,
            .redirection_hint = test(address_lo, 3)};
}

namespace {

constexpr u32 kXapicBroadcast = 0xff, kX2apicBroadcast = 0xffffffff;

bool is_broadcast(const ApicAddress& target, u32 mda)
{
    return mda == (target.x2apic ? kX2apicBroadcast : kXapicBroadcast);
}

bool match_physical(const ApicAddress& target, u32 mda)
{
    return is_broadcast(target, mda) || mda == target.id;
}

bool match_logical(const ApicAddress& target, u32 mda)
{
    if (is_broadcast(target, mda))
        return true;
    if (target.x2apic)
        return target.ldr >> 16 == mda >> 16 && (target.ldr & mda & 0xffff) != 0;
    constexpr u32 kFlat = 0xf, kCluster = 0;
    const u32 logical_id = target.ldr >> 24;
    switch (target.dfr >> 28) {
    case kFlat:
        return (logical_id & mda) != 0;
    case kCluster:
        return logical_id >> 4 == mda >> 4 && (logical_id & mda & 0xf) != 0;
    default:
        return false;
    }
}

// What one vCPU's APIC does with an interrupt that is for it. False: nothing.
bool accept_irq(Vcpu& vcpu, const Irq& irq)
{
    const ApicAddress apic = vcpu.lapic.address();
    Vm& vm = vcpu.vm();
    switch (irq.mode) {
    case DeliveryMode::fixed:
    case DeliveryMode::lowest_priority:
        if ((irq.level_triggered && !irq.assert) || !apic.software_enabled || !apic.hardware_enabled)
            return false;
        vm.ops.deliver_interrupt(vcpu, irq.vector, irq.level_triggered);
        return true;
    case DeliveryMode::nmi:
        vcpu.inject_nmi();
        return true;
    case DeliveryMode::init:
        if (irq.level_triggered && !irq.assert) // INIT level de-assert: only sets arbitration ids
            return false;
        if (!vm.ops.apic_init_signal_blocked(vcpu))
            vcpu.receive_init();
        return true;
    case DeliveryMode::startup:
        if (!vm.ops.apic_init_signal_blocked(vcpu))
            vcpu.receive_sipi(irq.vector);
        return true;
    default: // SMIs are not offered; remote reads and ExtINT mean nothing without an 8259
        return false;
    }
}

} // namespace

bool kvm_apic_match_dest(const ApicAddress& target, const Irq& irq, bool same, bool broadcast_quirk)
{
    switch (irq.shorthand) {
    case Shorthand::self:
        return same;
    case Shorthand::all:
        return true;
    case Shorthand::others:
        return !same;
    case Shorthand::none:
        break;
    }
    // KVM's quirk: a device cannot name the 32-bit broadcast id, so its 8-bit one reaches x2APICs too.
    const bool widened = broadcast_quirk && irq.dest_id == kXapicBroadcast && target.x2apic;
    const u32 mda = widened ? kX2apicBroadcast : irq.dest_id;
    return irq.logical ? match_logical(target, mda) : match_physical(target, mda);
}

int kvm_irq_delivery_to_apic(Vm& vm, Vcpu* source, Irq irq)
{
    const bool x2apic_quirk_off = vm.x2apic_format & spec::kvm::KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
    const bool broadcast_quirk = source == nullptr && !x2apic_quirk_off;
    bool lowest = irq.mode == DeliveryMode::lowest_priority || irq.redirection_hint;
    if (lowest && irq.shorthand == Shorthand::none && !irq.logical && irq.dest_id == kXapicBroadcast) {
        irq.mode = DeliveryMode::fixed; // a physical broadcast cannot arbitrate
        lowest = false;
    }
    int taken = -1;
    std::vector<Vcpu*> candidates;
    for (const auto& vcpu : vm.vcpus()) {
        const ApicAddress address = vcpu->lapic.address();
        if (!address.hardware_enabled ||
            !kvm_apic_match_dest(address, irq, vcpu.get() == source, broadcast_quirk))
            continue;
        if (!lowest)
            taken = std::max(taken, 0) + (accept_irq(*vcpu, irq) ? 1 : 0);
        else if (address.software_enabled)
            candidates.push_back(vcpu.get());
    }
    if (candidates.empty())
        return taken;
    // Vectors spread over the candidates, each always to the same one: KVM's vector hashing.
    return accept_irq(*candidates[irq.vector % candidates.size()], irq) ? 1 : 0;
}

} // namespace seamless::kvm
