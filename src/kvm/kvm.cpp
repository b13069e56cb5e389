// SPDX-License-Identifier: Apache-2.0
// The system-wide part: VMs by type, and the CPUID that guests may see.
#include "kvm/kvm.h"

#include "cpu/cpuid.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

Kvm::Kvm(cpu::Package& package, cpu::SeamPort* seam, const x86_ops& ops, HostTimers* timers)
    : package_(package),
      ops_(ops),
      processors_(package),
      own_timers_(timers ? nullptr : std::make_unique<TimerThread>(package.clock())),
      timers_(timers ? *timers : *own_timers_),
      tdx_(processors_, seam)
{}

Kvm::~Kvm() = default;

Result<void, Message> Kvm::enable_tdx()
{
    TRY(tdx_.bring_up());
    tdx_ready_ = true;
    return {};
}

u32 Kvm::tsc_khz() const { return static_cast<u32>(package_.clock().tsc_hz() / 1000); }

Result<std::shared_ptr<Vm>, Errno> Kvm::create_vm(u64 type)
{
    if (type != KVM_X86_DEFAULT_VM && !(type == KVM_X86_TDX_VM && tdx_ready_))
        return fail(Errno{EINVAL});
    return Vm::create(*this, type);
}

namespace {

bool has_subleaves(u32 leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x12 || leaf == 0x14 ||
           leaf == 0x1f;
}

// What is offered whatever the host has: KVM's own MSRs against speculation, and for AMD's processors that
// they need none of their own.
struct Offered {
    u32 leaf;
    bool amd_only;
    u32 kvm_cpuid_entry2::*reg;
    u32 bits;
};
constexpr u32 kAmdFeatures2 = 0x80000021;
constexpr Offered kOffered[] = {
    {7, false, &kvm_cpuid_entry2::edx, 1u << 26 | 1u << 29},           // SPEC_CTRL, ARCH_CAPABILITIES
    {kAmdFeatures2, true, &kvm_cpuid_entry2::eax, 1u << 5 | 1u << 29}, // VERW_CLEAR, SRSO_NO
    {kAmdFeatures2, true, &kvm_cpuid_entry2::ecx, 1u << 1 | 1u << 2},  // TSA_SQ_NO, TSA_L1_NO
};

bool is_amd() { return cpu::native_cpuid(0, 0).ebx == 0x68747541; } // "Auth"

void add_leaf(std::vector<kvm_cpuid_entry2>& all, u32 leaf, u32 subleaf)
{
    const cpu::CpuidResult r = cpu::native_cpuid(leaf, subleaf);
    kvm_cpuid_entry2 e{
        .function = leaf, .index = subleaf, .eax = r.eax, .ebx = r.ebx, .ecx = r.ecx, .edx = r.edx};
    if (has_subleaves(leaf))
        e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    if (leaf == 1)
        e.ecx |= 1u << 21 | 1u << 24 | 1u << 31; // x2APIC, TSC deadline, hypervisor
    if (leaf == 0x80000008)
        e.eax &= ~0x00ff0000u;
    if (leaf == 0x80000000 && is_amd())
        e.eax = std::max(e.eax, kAmdFeatures2);
    for (const Offered& row : kOffered)
        if (row.leaf == leaf && subleaf == 0 && (!row.amd_only || is_amd()))
            e.*row.reg |= row.bits;
    all.push_back(e);
}

void add_subleaves(std::vector<kvm_cpuid_entry2>& all, u32 leaf)
{
    constexpr u32 kXsaveComponents = 63, kFew = 8;
    const u32 count = leaf == 0xd ? kXsaveComponents : kFew;
    for (u32 i = 1; i < count; ++i)
        if (const cpu::CpuidResult r = cpu::native_cpuid(leaf, i);
            r != cpu::CpuidResult{} && (leaf == 0xd || r.eax != 0))
            add_leaf(all, leaf, i);
}

} // namespace

std::vector<kvm_cpuid_entry2> Kvm::supported_cpuid() const
{
    std::vector<kvm_cpuid_entry2> all;
    for (const u32 base : {0u, 0x80000000u}) {
        add_leaf(all, base, 0);
        const u32 last = std::min(all.back().eax, base + 0x30);
        for (u32 leaf = base + 1; leaf <= last; ++leaf) {
            add_leaf(all, leaf, 0);
            if (has_subleaves(leaf))
                add_subleaves(all, leaf);
        }
    }
    // "KVMKVMKVM" in EBX, ECX, EDX.
    all.push_back({.function = KVM_CPUID_SIGNATURE,
                   .eax = KVM_CPUID_FEATURES,
                   .ebx = 0x4b4d564b,
                   .ecx = 0x564b4d56,
                   .edx = 0x4d});
    constexpr u64 kFeatures = bit(KVM_FEATURE_CLOCKSOURCE) | bit(KVM_FEATURE_NOP_IO_DELAY) |
                              bit(KVM_FEATURE_CLOCKSOURCE2) | bit(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
    all.push_back({.function = KVM_CPUID_FEATURES, .eax = static_cast<u32>(kFeatures)});
    return all;
}

} // namespace seamless::kvm
