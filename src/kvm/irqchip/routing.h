// SPDX-License-Identifier: Apache-2.0
// KVM_SET_GSI_ROUTING: which message each global interrupt sends. The routes below the split IOAPIC's pins
// also tell which vectors are level triggered, and whose EOI user space must hear of.
#pragma once

#include <mutex>
#include <span>
#include <vector>

#include "base/errno.h"
#include "base/result.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class Vm;
class Vcpu;

class IrqRouting {
  public:
    // EINVAL: a kind of route that a split irqchip has no use for, flags, a GSI out of range or routed twice.
    [[nodiscard]] Result<void, Errno> set(const Vm& vm,
                                          std::span<const spec::kvm::kvm_irq_routing_entry> entries);
    // Raises or lowers a GSI. Below 0: nothing is routed there; else how many APICs took the message.
    int set_irq(Vm& vm, u32 gsi, bool level);
    // True if a route of the IOAPIC sends `vector`, level triggered, to this vCPU.
    [[nodiscard]] bool ioapic_handles(Vm& vm, Vcpu& vcpu, u8 vector);

  private:
    std::mutex mutex_;
    std::vector<spec::kvm::kvm_irq_routing_entry> entries_; // by GSI
};

// KVM_SIGNAL_MSI. The answer is the ioctl's: more than 0 if somebody took it, 0 if those addressed did not,
// and EPERM (KVM's -1) if the message addresses nobody.
[[nodiscard]] Result<long, Errno> kvm_send_userspace_msi(Vm& vm, const spec::kvm::kvm_msi& msi);

} // namespace seamless::kvm
