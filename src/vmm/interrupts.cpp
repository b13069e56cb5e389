// SPDX-License-Identifier: Apache-2.0
// KVM_SIGNAL_MSI and KVM_SET_GSI_ROUTING for the I/O APIC.
#include "vmm/interrupts.h"

#include <array>

#include "spec/kvm_abi.h"
#include "spec/kvm_abi_irq.h"

namespace seamless::vmm {

using namespace spec::kvm;

// A message that no processor takes is lost, as on the bus.
void Interrupts::send(const devices::MsiMessage& message)
{
    kvm_msi msi{};
    msi.address_lo = message.address;
    msi.data = message.data;
    (void)vm_.ioctl(KVM_SIGNAL_MSI, &msi);
}

// A KVM that refuses routes reports no EOIs: level-triggered interrupts then come once, and edges still work.
void Interrupts::routes_changed()
{
    struct {
        kvm_irq_routing header;
        std::array<kvm_irq_routing_entry, devices::Ioapic::kPins> entries;
    } table{};
    for (unsigned pin = 0; pin < devices::Ioapic::kPins; ++pin) {
        if (!ioapic_.level_triggered(pin))
            continue;
        const devices::MsiMessage message = ioapic_.message(pin);
        kvm_irq_routing_entry& entry = table.entries[table.header.nr++];
        entry.gsi = pin;
        entry.type = KVM_IRQ_ROUTING_MSI;
        entry.u.msi.address_lo = message.address;
        entry.u.msi.data = message.data;
    }
    (void)vm_.ioctl(KVM_SET_GSI_ROUTING, &table);
}

} // namespace seamless::vmm
