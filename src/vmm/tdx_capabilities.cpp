// SPDX-License-Identifier: Apache-2.0
// Asks a KVM device what it offers.
#include "vmm/tdx_capabilities.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

constexpr u32 kMaxCpuidEntries = 256;

// clang-format off
constexpr std::pair<std::string_view, u32> kShown[] = {
    {"NR_VCPUS", KVM_CAP_NR_VCPUS},
    {"NR_MEMSLOTS", KVM_CAP_NR_MEMSLOTS},
    {"IOEVENTFD", KVM_CAP_IOEVENTFD},
    {"MAX_VCPUS", KVM_CAP_MAX_VCPUS},
    {"SPLIT_IRQCHIP", KVM_CAP_SPLIT_IRQCHIP},
    {"IMMEDIATE_EXIT", KVM_CAP_IMMEDIATE_EXIT},
    {"EXIT_HYPERCALL", KVM_CAP_EXIT_HYPERCALL},
    {"MEMORY_FAULT_INFO", KVM_CAP_MEMORY_FAULT_INFO},
    {"MEMORY_ATTRIBUTES", KVM_CAP_MEMORY_ATTRIBUTES},
    {"GUEST_MEMFD", KVM_CAP_GUEST_MEMFD},
    {"VM_TYPES", KVM_CAP_VM_TYPES},
    {"PRE_FAULT_MEMORY", KVM_CAP_PRE_FAULT_MEMORY},
};
// clang-format on

} // namespace

// KVM says -E2BIG, and no more, while there is too little room for its CPUID leaves.
Result<TdxCapabilities, Message> tdx_capabilities(const KvmFd& vm)
{
    for (u32 room = 32;; room *= 2) {
        WithCpuid<kvm_tdx_capabilities> buffer(room);
        kvm_tdx_capabilities& caps = *buffer.get();
        caps.cpuid.nent = room;
        kvm_tdx_cmd command{
            .id = KVM_TDX_CAPABILITIES, .flags = 0, .data = reinterpret_cast<u64>(&caps), .hw_error = 0};
        const int result = vm.ioctl(KVM_MEMORY_ENCRYPT_OP, &command);
        if (result == -E2BIG && room < kMaxCpuidEntries)
            continue;
        if (result < 0)
            return fail(Message{fmt::format("KVM_TDX_CAPABILITIES: {}", errno_text(-result))});
        const u32 count = std::min(caps.cpuid.nent, room);
        return TdxCapabilities{caps.supported_attrs, caps.supported_xfam,
                               CpuidTable(caps.cpuid.entries(), caps.cpuid.entries() + count)};
    }
}

Result<KvmOffer, Message> read_offer(IoctlPort& port)
{
    const int fd = port.open_kvm();
    if (fd < 0)
        return fail(Message{fmt::format("opening the KVM device: {}", errno_text(-fd))});
    const KvmFd kvm(port, fd);
    KvmOffer offer;
    offer.api_version = TRY(kvm.call("KVM_GET_API_VERSION", KVM_GET_API_VERSION));
    for (const auto& [name, number] : kShown)
        offer.capabilities.push_back({name, number, kvm.ioctl(KVM_CHECK_EXTENSION, u64{number})});
    const int types = kvm.ioctl(KVM_CHECK_EXTENSION, u64{KVM_CAP_VM_TYPES});
    if (types < 0 || !test(static_cast<u64>(types), static_cast<unsigned>(KVM_X86_TDX_VM)))
        return offer;
    const KvmFd vm(port, TRY(kvm.call("KVM_CREATE_VM", KVM_CREATE_VM, KVM_X86_TDX_VM)));
    offer.tdx = TRY(tdx_capabilities(vm));
    return offer;
}

} // namespace seamless::vmm
