// SPDX-License-Identifier: Apache-2.0
// CPUID of a plain VM: its table, and the bits that follow the state of the vCPU. KVM:
// "kvm_update_cpuid_runtime".
#include "cpu/cpuid.h"
#include "kvm/backend_vmx/vmx.h"

namespace seamless::kvm {

using namespace spec;

namespace {

constexpr u32 kLegacyAndHeader = 576, kComponents = 63;

// The size of an XSAVE area with the components of `xcr0`. SDM: "Standard Format", "Compacted Format of an
// XSAVE Area".
u32 xstate_required_size(u64 xcr0, bool compacted)
{
    u32 size = kLegacyAndHeader;
    for (u32 i = 2; i < kComponents; ++i) {
        if (!test(xcr0, i))
            continue;
        const cpu::CpuidResult component = cpu::native_cpuid(0xd, i);
        const bool align = component.ecx & 2;
        const u32 offset = !compacted ? component.ebx : align ? align_up(size, 64u) : size;
        size = std::max(size, offset + component.eax);
    }
    return size;
}

u32 with_bit(u32 value, unsigned n, bool set) { return (value & ~(1u << n)) | (set ? 1u << n : 0); }

} // namespace

void vmx_cpuid(const Vcpu& vcpu, u32& eax, u32& ebx, u32& ecx, u32& edx)
{
    constexpr u32 kXsaveCompacted = 1u << 1, kXsaves = 1u << 3;
    const u32 leaf = eax, subleaf = ecx;
    kvm_cpuid(vcpu, eax, ebx, ecx, edx);
    const VcpuVmx& vmx = *vcpu.vmx;
    if (leaf == 1) // OSXSAVE
        ecx = with_bit(ecx, 27, vmx_cr4(vmx) & cr4::OSXSAVE);
    if (leaf == 7 && subleaf == 0) // OSPKE
        ecx = with_bit(ecx, 4, vmx_cr4(vmx) & cr4::PKE);
    if (leaf != 0xd || !find_cpuid_entry(vcpu, leaf, subleaf))
        return;
    if (subleaf == 0)
        ebx = xstate_required_size(vmx.context.xcr0, false);
    if (subleaf == 1 && (eax & (kXsaveCompacted | kXsaves)))
        ebx = xstate_required_size(vmx.context.xcr0, true);
}

} // namespace seamless::kvm
