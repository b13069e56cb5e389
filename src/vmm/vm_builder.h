// SPDX-License-Identifier: Apache-2.0
// Builds a VM from a plan: a TD or a plain VM, in the order KVM wants. Refusals are KVM's and come as
// messages.
#pragma once

#include <memory>
#include <vector>

#include "vmm/guest_memory.h"
#include "vmm/machine_plan.h"
#include "vmm/vcpu.h"

namespace seamless::vmm {

// Members are destroyed in reverse: vCPUs before the memory, the memory before the VM.
struct Vm {
    KvmFd kvm;
    KvmFd vm;
    GuestMemory memory;
    std::vector<Vcpu> vcpus;

    Vm(KvmFd kvm_fd, KvmFd vm_fd, bool private_memory)
        : kvm(std::move(kvm_fd)), vm(std::move(vm_fd)), memory(vm, private_memory)
    {}
    Vm(const Vm&) = delete; // `memory` refers to `vm`
    Vm& operator=(const Vm&) = delete;
};

[[nodiscard]] Result<std::unique_ptr<Vm>, Message> build_vm(IoctlPort& port, const MachinePlan& plan);

namespace detail {
[[nodiscard]] Result<void, Message> build_td(Vm& vm, const MachinePlan& plan);
[[nodiscard]] Result<void, Message> build_plain(Vm& vm, const MachinePlan& plan);
[[nodiscard]] Result<void, Message> create_vcpus(Vm& vm, const MachinePlan& plan);
[[nodiscard]] Result<void, Message> add_memory(Vm& vm, const MachinePlan& plan);
} // namespace detail

} // namespace seamless::vmm
