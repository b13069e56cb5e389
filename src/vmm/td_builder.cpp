// SPDX-License-Identifier: Apache-2.0
// Builds a TD. KVM API: "Intel Trust Domain Extensions": the order of calls is part of the interface.
#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

#include "vmm/tdx_capabilities.h"
#include "vmm/vm_builder.h"

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

constexpr u64 kSeptVeDisable = bit(28); // Linux guests insist on it
constexpr u64 kApicBusCycleNs = 40;     // the TDX module's 25 MHz crystal
constexpr unsigned kGpaw = 48;
constexpr int kInitVmAttempts = 10000; // -EAGAIN: the module had no entropy

Result<void, Message> tdx_command(const KvmFd& fd, std::string_view name, u32 id, u32 flags, u64 data)
{
    kvm_tdx_cmd command{.id = id, .flags = flags, .data = data, .hw_error = 0};
    const int result = fd.ioctl(KVM_MEMORY_ENCRYPT_OP, &command);
    if (result >= 0)
        return {};
    const std::string status =
        command.hw_error != 0 ? fmt::format(", SEAMCALL status {:#018x}", command.hw_error) : "";
    return fail(Message{fmt::format("{}: {}{}", name, errno_text(-result), status)});
}

Result<void, Message> init_vm(const Vm& vm, const MachinePlan& plan)
{
    const TdxCapabilities caps = TRY(tdx_capabilities(vm.vm));
    const CpuidTable supported = TRY(supported_cpuid(vm.kvm));
    const CpuidTable cpuid = cpuid_of_td(caps.masks, supported, plan.config.cpus, kGpaw);
    WithCpuid<kvm_tdx_init_vm> buffer(cpuid.size());
    kvm_tdx_init_vm& init = *buffer.get();
    init.attributes = caps.attributes & kSeptVeDisable;
    init.xfam = caps.xfam;
    init.cpuid.nent = static_cast<u32>(cpuid.size());
    std::copy(cpuid.begin(), cpuid.end(), init.cpuid.entries());
    kvm_tdx_cmd command{};
    int result = -EAGAIN;
    for (int attempt = 0; attempt < kInitVmAttempts && result == -EAGAIN; ++attempt) {
        command = {.id = KVM_TDX_INIT_VM, .flags = 0, .data = reinterpret_cast<u64>(&init), .hw_error = 0};
        result = vm.vm.ioctl(KVM_MEMORY_ENCRYPT_OP, &command);
    }
    if (result < 0)
        return fail(Message{fmt::format("KVM_TDX_INIT_VM: {}, SEAMCALL status {:#018x}", errno_text(-result),
                                        command.hw_error)});
    return {};
}

// Adds a section's pages, as one region: MRTD depends on the order of sections and pages.
Result<void, Message> add_section(const Vm& vm, const MachinePlan& plan, const TdvfSection& section)
{
    const HostPages source = TRY(HostPages::make(section.size));
    for (u64 i = 0; i < section.pages(); ++i)
        plan.page(section, i,
                  std::span<u8, base::kPageSize>(source.data() + i * base::kPageSize, base::kPageSize));
    kvm_tdx_init_mem_region region{.source_addr = reinterpret_cast<u64>(source.data()),
                                   .gpa = section.address,
                                   .nr_pages = section.pages()};
    const u32 flags = section.measured() ? KVM_TDX_MEASURE_MEMORY_REGION : 0;
    const std::string name =
        fmt::format("KVM_TDX_INIT_MEM_REGION of {} at {:#x}", name_of(section.type), section.address);
    return tdx_command(vm.vcpus.front().fd(), name, KVM_TDX_INIT_MEM_REGION, flags,
                       reinterpret_cast<u64>(&region));
}

} // namespace

Result<void, Message> detail::build_td(Vm& vm, const MachinePlan& plan)
{
    // MapGPA of the guest comes as KVM_EXIT_HYPERCALL.
    TRY(vm.vm.enable("KVM_CAP_EXIT_HYPERCALL", KVM_CAP_EXIT_HYPERCALL, bit(KVM_HC_MAP_GPA_RANGE)));
    TRY(vm.vm.enable("KVM_CAP_X86_APIC_BUS_CYCLES_NS", KVM_CAP_X86_APIC_BUS_CYCLES_NS, kApicBusCycleNs));
    TRY(init_vm(vm, plan));
    TRY(create_vcpus(vm, plan));
    TRY(add_memory(vm, plan));
    for (const Vcpu& vcpu : vm.vcpus)
        TRY(tdx_command(vcpu.fd(), "KVM_TDX_INIT_VCPU", KVM_TDX_INIT_VCPU, 0, plan.hob_address));
    for (const TdvfSection& section : plan.tdvf.sections)
        if (section.added())
            TRY(add_section(vm, plan, section));
    return tdx_command(vm.vm, "KVM_TDX_FINALIZE_VM", KVM_TDX_FINALIZE_VM, 0, 0);
}

} // namespace seamless::vmm
