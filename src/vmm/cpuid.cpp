// SPDX-License-Identifier: Apache-2.0
// CPUID tables of vCPUs and TDs.
#include "vmm/cpuid.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "spec/kvm_para.h"

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

constexpr std::size_t kMaxEntries = 256; // KVM_MAX_CPUID_ENTRIES

// SDM: "CPUID": level types of leaf 0BH.
constexpr u32 kSmtLevel = 1, kCoreLevel = 2;

bool is_topology(u32 leaf) { return leaf == 0xb || leaf == 0x1f; }

// Every vCPU is a core of one package, with one thread.
void add_topology(CpuidTable& table, u32 leaf, unsigned index, unsigned cpus)
{
    const auto core_bits = static_cast<u32>(std::bit_width(cpus - 1));
    table.push_back({.function = leaf,
                     .index = 0,
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                     .eax = 0,
                     .ebx = 1,
                     .ecx = kSmtLevel << 8,
                     .edx = index});
    table.push_back({.function = leaf,
                     .index = 1,
                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                     .eax = core_bits,
                     .ebx = cpus,
                     .ecx = kCoreLevel << 8 | 1,
                     .edx = index});
}

void set_apic_id(kvm_cpuid_entry2& leaf1, unsigned index, unsigned cpus)
{
    leaf1.ebx = static_cast<u32>(with_field(with_field(leaf1.ebx, 31, 24, index), 23, 16, cpus));
    if (cpus > 1)
        leaf1.edx |= 1u << 28; // HTT: EBX[23:16] is valid
}

const kvm_cpuid_entry2* find(const CpuidTable& table, const kvm_cpuid_entry2& like)
{
    const auto found = std::find_if(table.begin(), table.end(), [&](const kvm_cpuid_entry2& e) {
        return e.function == like.function &&
               ((e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || e.index == like.index);
    });
    return found == table.end() ? nullptr : &*found;
}

} // namespace

Result<CpuidTable, Message> supported_cpuid(const KvmFd& kvm)
{
    WithCpuid<kvm_cpuid2> buffer(kMaxEntries);
    buffer.get()->nent = kMaxEntries;
    TRY(kvm.call("KVM_GET_SUPPORTED_CPUID", KVM_GET_SUPPORTED_CPUID, buffer.get()));
    const kvm_cpuid2& got = *buffer.get();
    return CpuidTable(got.entries(), got.entries() + std::min<std::size_t>(got.nent, kMaxEntries));
}

CpuidTable cpuid_of_vcpu(const CpuidTable& supported, unsigned index, unsigned cpus)
{
    CpuidTable table;
    u32 max_leaf = 0;
    for (kvm_cpuid_entry2 entry : supported) {
        if (entry.function == 0)
            max_leaf = entry.eax;
        if (entry.function == 1)
            set_apic_id(entry, index, cpus);
        if (!is_topology(entry.function))
            table.push_back(entry);
    }
    for (const u32 leaf : {0xbu, 0x1fu})
        if (leaf <= max_leaf)
            add_topology(table, leaf, index, cpus);
    return table;
}

CpuidTable without_kvmclock(CpuidTable table)
{
    constexpr u64 kClock = bit(KVM_FEATURE_CLOCKSOURCE) | bit(KVM_FEATURE_CLOCKSOURCE2) |
                           bit(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT);
    for (kvm_cpuid_entry2& entry : table)
        if (entry.function == KVM_CPUID_FEATURES)
            entry.eax &= ~static_cast<u32>(kClock);
    return table;
}

Result<void, Message> set_cpuid(const KvmFd& vcpu, const CpuidTable& table)
{
    WithCpuid<kvm_cpuid2> buffer(table.size());
    buffer.get()->nent = static_cast<u32>(table.size());
    std::copy(table.begin(), table.end(), buffer.get()->entries());
    TRY(vcpu.call("KVM_SET_CPUID2", KVM_SET_CPUID2, buffer.get()));
    return {};
}

CpuidTable cpuid_of_td(const CpuidTable& masks, const CpuidTable& supported, unsigned cpus, unsigned gpaw)
{
    CpuidTable full = cpuid_of_vcpu(supported, 0, cpus);
    CpuidTable table;
    for (const kvm_cpuid_entry2& mask : masks) {
        kvm_cpuid_entry2 entry = mask;
        const kvm_cpuid_entry2* value = find(full, mask);
        const kvm_cpuid_entry2 none{};
        const kvm_cpuid_entry2& from = value == nullptr ? none : *value;
        entry.eax &= from.eax;
        entry.ebx &= from.ebx;
        entry.ecx &= from.ecx;
        entry.edx &= from.edx;
        if (mask.function == 1)
            entry.eax = 0; // TDH.MNG.INIT: zero asks for the native family, model and stepping
        if (mask.function == 0x80000008)
            entry.eax = static_cast<u32>(with_field(entry.eax, 23, 16, gpaw));
        table.push_back(entry);
    }
    return table;
}

} // namespace seamless::vmm
