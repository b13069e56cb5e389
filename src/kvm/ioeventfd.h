// SPDX-License-Identifier: Apache-2.0
// KVM_IOEVENTFD: a guest's write to an address signals an eventfd, without an exit to user space.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "kvm/io_bus.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class Ioeventfd;

// The ioeventfds of a VM. `buses` is the VM's array, indexed by BusId.
class Ioeventfds {
  public:
    explicit Ioeventfds(IoBus (&buses)[kBusCount]);
    ~Ioeventfds();

    [[nodiscard]] Result<void, Errno> ioctl(const spec::kvm::kvm_ioeventfd& args);

  private:
    [[nodiscard]] Result<void, Errno> assign(const spec::kvm::kvm_ioeventfd& args, BusId bus);
    [[nodiscard]] Result<void, Errno> deassign(const spec::kvm::kvm_ioeventfd& args, BusId bus);

    IoBus (&buses_)[kBusCount];
    std::mutex mutex_;
    std::vector<std::unique_ptr<Ioeventfd>> list_;
};

} // namespace seamless::kvm
