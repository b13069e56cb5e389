// SPDX-License-Identifier: Apache-2.0
// What CPUID and a few MSRs say inside a plain VM, where the answer follows the vCPU's state.
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

constexpr u32 kHwcr = 0xc0010015, kXss = 0xda0, kSpecCtrl = 0x48, kArchCapabilities = 0x10a;
constexpr u32 kNbCfg = 0xc001001f, kSysCfg = 0xc0010010;

struct PlainCpuid : testing::Test {
    Host host;
    PlainVm vm{host};

    void SetUp() override
    {
        std::vector<u8> buffer(sizeof(kvm_cpuid2) + 256 * sizeof(kvm_cpuid_entry2));
        auto* table = reinterpret_cast<kvm_cpuid2*>(buffer.data());
        table->nent = 256;
        ASSERT_EQ(host.ioctl(host.sys, KVM_GET_SUPPORTED_CPUID, table), 0);
        ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_CPUID2, table), 0);
        vm.sregs.cr4 |= bit(18); // OSXSAVE
    }
    // XSETBV of XCR0, then CPUID.
    void cpuid(u32 leaf, u32 subleaf, u8 xcr0)
    {
        vm.regs.rip = kCode;
        vm.regs.rax = leaf;
        vm.regs.rcx = subleaf;
        EXPECT_EQ(vm.start({0x50, 0x51, 0x31, 0xc9, 0x31, 0xd2, 0xb8, xcr0, 0, 0, 0, 0x0f, 0x01, 0xd1, 0x59,
                            0x58, 0x0f, 0xa2}),
                  KVM_EXIT_HLT);
    }
    // WRMSR of EAX, then RDMSR. False: #GP.
    bool wrmsr(u32 msr, u32 value)
    {
        vm.regs.rip = kCode;
        vm.regs.rsp = kStack;
        vm.regs.rcx = msr;
        vm.regs.rax = value;
        vm.regs.rdx = 0;
        EXPECT_EQ(vm.start({0x0f, 0x30, 0x0f, 0x32}), KVM_EXIT_HLT);
        return vm.regs.rip != kHandlers + 16 * 13 + 1;
    }
};

TEST_F(PlainCpuid, TheSizeOfTheXsaveAreaFollowsXcr0)
{
    cpuid(0xd, 0, 1);
    EXPECT_EQ(vm.regs.rbx, 576u);
    const u64 all = vm.regs.rcx;
    cpuid(0xd, 1, 3);
    EXPECT_EQ(vm.regs.rbx, 576u);
    if (!(vm.regs.rax & 2) || all == 576)
        GTEST_SKIP() << "the host has no AVX";
    cpuid(0xd, 0, 7); // AVX's upper halves: 256 bytes
    EXPECT_EQ(vm.regs.rbx, 832u);
    cpuid(0xd, 1, 7);
    EXPECT_EQ(vm.regs.rbx, 832u);
}

TEST_F(PlainCpuid, MsrsThatLinuxWritesEarly)
{
    EXPECT_TRUE(wrmsr(kXss, 0));
    EXPECT_FALSE(wrmsr(kXss, 1u << 8)); // no supervisor state is there
    EXPECT_TRUE(wrmsr(kHwcr, 1u << 24 | 1u << 18 | 1u << 6));
    EXPECT_EQ(vm.regs.rax, 1u << 24 | 1u << 18);
    EXPECT_FALSE(wrmsr(kHwcr, 1));
}

// Guests of whatever vendor learn that they need no measures of their own against speculation.
TEST_F(PlainCpuid, WhatGuestsAreSpared)
{
    EXPECT_TRUE(wrmsr(kSpecCtrl, 1)); // IBRS
    EXPECT_EQ(vm.regs.rax, 1u);
    EXPECT_FALSE(wrmsr(kSpecCtrl, 1u << 20));
    EXPECT_FALSE(wrmsr(kArchCapabilities, 0)); // read-only
    vm.regs.rip = kCode;
    vm.regs.rcx = kArchCapabilities;
    EXPECT_EQ(vm.start({0x0f, 0x32}), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rax & 0x123, 0x123u); // RDCL_NO, IBRS_ALL, MDS_NO, TAA_NO
    EXPECT_TRUE(wrmsr(kNbCfg, 1u << 14));
    EXPECT_EQ(vm.regs.rax, 0u);
    EXPECT_FALSE(wrmsr(kSysCfg, 1));
}

TEST_F(PlainCpuid, AGuestWithoutTheBitsHasNotTheMsrs)
{
    kvm_cpuid2 none{};
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_CPUID2, &none), 0);
    EXPECT_FALSE(wrmsr(kSpecCtrl, 1));
    EXPECT_FALSE(wrmsr(kArchCapabilities, 0));
}

} // namespace
} // namespace seamless::abi
