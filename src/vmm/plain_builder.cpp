// SPDX-License-Identifier: Apache-2.0
// Builds a plain VM that starts the same firmware image in the state a TD starts in, so that one image serves
// both.
#include <algorithm>

#include "vmm/cpuid.h"
#include "vmm/vm_builder.h"

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

constexpr u64 kResetVector = 0xfffffff0;
constexpr u64 kGuestAddressBits = 48; // a TD finds its GPAW in RBX

// TDX module: "Initial State of TD vCPUs": flat 32-bit segments.
constexpr kvm_segment kFlatCode{.base = 0,
                                .limit = 0xffffffff,
                                .selector = 0,
                                .type = 11,
                                .present = 1,
                                .dpl = 0,
                                .db = 1,
                                .s = 1,
                                .l = 0,
                                .g = 1,
                                .avl = 0,
                                .unusable = 0,
                                .padding = 0};
constexpr kvm_segment kFlatData{.base = 0,
                                .limit = 0xffffffff,
                                .selector = 0,
                                .type = 3,
                                .present = 1,
                                .dpl = 0,
                                .db = 1,
                                .s = 1,
                                .l = 0,
                                .g = 1,
                                .avl = 0,
                                .unusable = 0,
                                .padding = 0};
constexpr u64 kCr0 = 0x31;   // PE, ET, NE
constexpr u64 kCr4 = 0x40;   // MCE
constexpr u64 kEfer = 0x901; // SCE, LME, NXE

Result<void, Message> set_state(const Vcpu& vcpu, u64 hob_address)
{
    kvm_sregs sregs{};
    TRY(vcpu.fd().call("KVM_GET_SREGS", KVM_GET_SREGS, &sregs));
    sregs.cs = kFlatCode;
    for (kvm_segment* segment : {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss})
        *segment = kFlatData;
    sregs.gdt = {.base = 0, .limit = 0xffff, .padding = {}};
    sregs.idt = {.base = 0, .limit = 0, .padding = {}};
    sregs.cr0 = kCr0;
    sregs.cr3 = 0;
    sregs.cr4 = kCr4;
    sregs.efer = kEfer;
    TRY(vcpu.fd().call("KVM_SET_SREGS", KVM_SET_SREGS, &sregs));
    kvm_regs regs{};
    regs.rip = kResetVector;
    regs.rflags = 2;
    regs.rbx = kGuestAddressBits;
    regs.rcx = hob_address;
    regs.r8 = hob_address;
    regs.rsi = vcpu.index();
    TRY(vcpu.fd().call("KVM_SET_REGS", KVM_SET_REGS, &regs));
    // Processors of a TD all start at the reset vector; INIT and SIPI play no part.
    kvm_mp_state runnable{.mp_state = KVM_MP_STATE_RUNNABLE};
    TRY(vcpu.fd().call("KVM_SET_MP_STATE", KVM_SET_MP_STATE, &runnable));
    return {};
}

// What a PC's firmware sets on AMD's processors: the counter runs at the frequency of P0, which Linux checks.
Result<void, Message> set_hwcr(const Vm& vm)
{
    constexpr u32 kHwcr = 0xc0010015, kAuth = 0x68747541; // "Auth" of AuthenticAMD
    constexpr u64 kTscFreqSel = bit(24);
    const CpuidTable supported = TRY(supported_cpuid(vm.kvm));
    const bool amd = std::any_of(supported.begin(), supported.end(),
                                 [](const kvm_cpuid_entry2& e) { return e.function == 0 && e.ebx == kAuth; });
    if (!amd)
        return {};
    struct {
        kvm_msrs header{.nmsrs = 1, .pad = 0};
        kvm_msr_entry entry{.index = kHwcr, .reserved = 0, .data = kTscFreqSel};
    } msrs;
    for (const Vcpu& vcpu : vm.vcpus) // KVMs of before 6.7 have no such bit: the guest complains, and runs
        TRY(vcpu.fd().call("KVM_SET_MSRS", KVM_SET_MSRS, &msrs));
    return {};
}

} // namespace

Result<void, Message> detail::build_plain(Vm& vm, const MachinePlan& plan)
{
    TRY(add_memory(vm, plan));
    for (const TdvfSection& section : plan.tdvf.sections) {
        u8* to = section.added() ? vm.memory.at({section.address, section.size}) : nullptr;
        for (u64 i = 0; to != nullptr && i < section.pages(); ++i)
            plan.page(section, i, std::span<u8, base::kPageSize>(to + i * base::kPageSize, base::kPageSize));
    }
    TRY(create_vcpus(vm, plan));
    for (const Vcpu& vcpu : vm.vcpus)
        TRY(set_state(vcpu, plan.hob_address));
    return set_hwcr(vm);
}

} // namespace seamless::vmm
