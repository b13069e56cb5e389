// SPDX-License-Identifier: Apache-2.0
// Routes are copied out under the lock, and delivered without it.
#include "kvm/irqchip/routing.h"

#include <algorithm>
#include <optional>

#include "kvm/irqchip/irq.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

bool by_gsi(const kvm_irq_routing_entry& a, const kvm_irq_routing_entry& b) { return a.gsi < b.gsi; }

bool ids_32bit(const Vm& vm) { return vm.x2apic_format & KVM_X2APIC_API_USE_32BIT_IDS; }
// With 32-bit ids, the low byte of the high half is reserved.
bool is_msi_valid(const Vm& vm, u32 address_hi) { return !ids_32bit(vm) || (address_hi & 0xff) == 0; }

bool is_route_valid(const Vm& vm, const kvm_irq_routing_entry& e)
{
    if (e.gsi >= KVM_MAX_IRQ_ROUTES || e.type != KVM_IRQ_ROUTING_MSI)
        return false; // IRQCHIP routes need an 8259 and an IOAPIC in the kernel
    return !(e.flags & ~KVM_MSI_VALID_DEVID) && is_msi_valid(vm, e.u.msi.address_hi);
}

Irq irq_of(const Vm& vm, const kvm_irq_routing_entry& e)
{
    return irq_of_msi(e.u.msi.address_lo, e.u.msi.address_hi, e.u.msi.data, ids_32bit(vm));
}

} // namespace

Result<void, Errno> IrqRouting::set(const Vm& vm, std::span<const kvm_irq_routing_entry> entries)
{
    std::vector<kvm_irq_routing_entry> sorted(entries.begin(), entries.end());
    std::stable_sort(sorted.begin(), sorted.end(), by_gsi);
    for (std::size_t i = 0; i < sorted.size(); ++i)
        if (!is_route_valid(vm, sorted[i]) || (i > 0 && sorted[i - 1].gsi == sorted[i].gsi))
            return fail(Errno{EINVAL});
    const std::lock_guard lock(mutex_);
    entries_ = std::move(sorted);
    return {};
}

int IrqRouting::set_irq(Vm& vm, u32 gsi, bool level)
{
    std::optional<Irq> irq;
    {
        const std::lock_guard lock(mutex_);
        const auto found =
            std::lower_bound(entries_.begin(), entries_.end(), kvm_irq_routing_entry{.gsi = gsi}, by_gsi);
        if (found != entries_.end() && found->gsi == gsi && level)
            irq = irq_of(vm, *found);
    }
    return irq ? kvm_irq_delivery_to_apic(vm, nullptr, *irq) : -1; // a message has no falling edge
}

bool IrqRouting::ioapic_handles(Vm& vm, Vcpu& vcpu, u8 vector)
{
    const ApicAddress address = vcpu.lapic.address();
    const bool quirk = !(vm.x2apic_format & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
    const std::lock_guard lock(mutex_);
    return std::any_of(entries_.begin(), entries_.end(), [&](const kvm_irq_routing_entry& e) {
        const Irq irq = irq_of(vm, e);
        return e.gsi < vm.nr_reserved_ioapic_pins && irq.level_triggered && irq.vector == vector &&
               kvm_apic_match_dest(address, irq, false, quirk);
    });
}

Result<long, Errno> kvm_send_userspace_msi(Vm& vm, const kvm_msi& msi)
{
    if (!vm.irqchip_split || (msi.flags & ~KVM_MSI_VALID_DEVID) || !is_msi_valid(vm, msi.address_hi))
        return fail(Errno{EINVAL});
    const Irq irq = irq_of_msi(msi.address_lo, msi.address_hi, msi.data, ids_32bit(vm));
    const int taken = kvm_irq_delivery_to_apic(vm, nullptr, irq);
    if (taken < 0)
        return fail(Errno{EPERM});
    return long{taken};
}

} // namespace seamless::kvm
