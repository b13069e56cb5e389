// SPDX-License-Identifier: Apache-2.0
// The I/O APIC's way into KVM: its messages are KVM_SIGNAL_MSI, and KVM learns by GSI routes which vectors'
// EOIs it must report (KVM_EXIT_IOAPIC_EOI). KVM API: KVM_CAP_SPLIT_IRQCHIP.
#pragma once

#include "devices/ioapic.h"
#include "vmm/kvm_fd.h"

namespace seamless::vmm {

class Interrupts : public devices::IoapicBackend {
  public:
    explicit Interrupts(const KvmFd& vm) : vm_(vm) {}

    [[nodiscard]] devices::Ioapic& ioapic() { return ioapic_; }
    [[nodiscard]] const devices::Ioapic& ioapic() const { return ioapic_; }
    void send(const devices::MsiMessage& message) override;
    void routes_changed() override;

  private:
    const KvmFd& vm_;
    devices::Ioapic ioapic_{*this};
};

} // namespace seamless::vmm
