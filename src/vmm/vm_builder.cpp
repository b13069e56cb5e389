// SPDX-License-Identifier: Apache-2.0
// What TDs and plain VMs have in common: the VM, its memory, its vCPUs.
#include "vmm/vm_builder.h"

#include <fmt/format.h>

#include "vmm/cpuid.h"

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

constexpr u64 kIoapicPins = 24;
constexpr u64 kX2apicFlags = 3; // 32-bit ids, no broadcast quirk

Result<KvmFd, Message> open_kvm(IoctlPort& port)
{
    const int fd = port.open_kvm();
    if (fd < 0)
        return fail(Message{fmt::format("opening the KVM device: {}", errno_text(-fd))});
    KvmFd kvm(port, fd);
    const int version = TRY(kvm.call("KVM_GET_API_VERSION", KVM_GET_API_VERSION));
    if (version != static_cast<int>(KVM_API_VERSION))
        return fail(
            Message{fmt::format("the KVM device has API version {}, not {}", version, KVM_API_VERSION)});
    return kvm;
}

Result<void, Message> check_kind(const KvmFd& kvm, VmKind kind)
{
    if (kind != VmKind::td)
        return {};
    const int types = kvm.ioctl(KVM_CHECK_EXTENSION, u64{KVM_CAP_VM_TYPES});
    if (types < 0 || !test(static_cast<u64>(types), static_cast<unsigned>(KVM_X86_TDX_VM)))
        return fail(Message{"the KVM device offers no TDs"});
    return {};
}

} // namespace

Result<void, Message> detail::create_vcpus(Vm& vm, const MachinePlan& plan)
{
    const int mapped = TRY(vm.kvm.call("KVM_GET_VCPU_MMAP_SIZE", KVM_GET_VCPU_MMAP_SIZE));
    const CpuidTable supported = TRY(supported_cpuid(vm.kvm));
    for (unsigned i = 0; i < plan.config.cpus; ++i) {
        vm.vcpus.push_back(TRY(Vcpu::create(vm.vm, i, static_cast<u64>(mapped))));
        CpuidTable cpuid = cpuid_of_vcpu(supported, i, plan.config.cpus);
        if (plan.config.kind == VmKind::td)
            cpuid = without_kvmclock(std::move(cpuid));
        TRY(set_cpuid(vm.vcpus.back().fd(), cpuid));
    }
    return {};
}

Result<void, Message> detail::add_memory(Vm& vm, const MachinePlan& plan)
{
    for (const MemoryRange& range : plan.map.ram)
        TRY(vm.memory.add(range));
    return vm.memory.add(plan.map.firmware);
}

Result<std::unique_ptr<Vm>, Message> build_vm(IoctlPort& port, const MachinePlan& plan)
{
    const bool td = plan.config.kind == VmKind::td;
    KvmFd kvm = TRY(open_kvm(port));
    TRY(check_kind(kvm, plan.config.kind));
    KvmFd fd(port, TRY(kvm.call("KVM_CREATE_VM", KVM_CREATE_VM, td ? KVM_X86_TDX_VM : KVM_X86_DEFAULT_VM)));
    auto vm = std::make_unique<Vm>(std::move(kvm), std::move(fd), td);
    TRY(vm->vm.enable("KVM_CAP_SPLIT_IRQCHIP", KVM_CAP_SPLIT_IRQCHIP, kIoapicPins));
    TRY(vm->vm.enable("KVM_CAP_X2APIC_API", KVM_CAP_X2APIC_API, kX2apicFlags));
    TRY(td ? detail::build_td(*vm, plan) : detail::build_plain(*vm, plan));
    return vm;
}

} // namespace seamless::vmm
