// SPDX-License-Identifier: Apache-2.0
// KVM's own hypercalls from a plain VM: what reaches user space, and what KVM answers itself.
#include <cerrno>

#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

using spec::kvm::KVM_HC_MAP_GPA_RANGE;

struct PlainHypercall : testing::Test {
    Host host;
    PlainVm vm{host};

    void enable()
    {
        kvm_enable_cap cap{.cap = KVM_CAP_EXIT_HYPERCALL, .flags = 0, .args = {bit(KVM_HC_MAP_GPA_RANGE)}};
        ASSERT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), 0);
    }
    u32 call(u64 nr, u64 a0 = 0, u64 a1 = 0, u64 a2 = 0)
    {
        vm.regs.rax = nr;
        vm.regs.rbx = a0;
        vm.regs.rcx = a1;
        vm.regs.rdx = a2;
        vm.regs.rip = kCode;
        return vm.start({0x0f, 0x01, 0xc1});
    }
    // KVM's own answer, of which 32-bit code sees a half.
    void expect_answer(int result)
    {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
        EXPECT_EQ(vm.regs.rax, static_cast<u32>(result));
    }
};

TEST_F(PlainHypercall, MapGpaRangeIsForUserSpace)
{
    enable();
    ASSERT_EQ(call(u64{7} << 32 | KVM_HC_MAP_GPA_RANGE, 0x4000, 2, 0x10), KVM_EXIT_HYPERCALL);
    EXPECT_EQ(vm.regs.rip, kCode) << "not yet behind it";
    const auto& asked = vm.run->hypercall;
    EXPECT_EQ(asked.nr, KVM_HC_MAP_GPA_RANGE);
    EXPECT_EQ(asked.args[0], 0x4000u);
    EXPECT_EQ(asked.args[1], 2u);
    EXPECT_EQ(asked.args[2], 0x10u);
    EXPECT_EQ(asked.ret, 0u);
    EXPECT_EQ(asked.flags, 0u) << "not from 64-bit code";
    vm.run->hypercall.ret = 0x1'2345'6789;
    vm.go_on();
    expect_answer(0x23456789);
}

TEST_F(PlainHypercall, WhatKvmAnswers)
{
    call(KVM_HC_MAP_GPA_RANGE, 0x4000, 2, 0x10);
    expect_answer(-1000); // not enabled
    enable();
    call(KVM_HC_MAP_GPA_RANGE, 0x4001, 2, 0x10);
    expect_answer(-EINVAL);
    call(KVM_HC_MAP_GPA_RANGE, 0x4000, 0, 0x10);
    expect_answer(-EINVAL);
    call(1); // KVM_HC_VAPIC_POLL_IRQ
    expect_answer(0);
    call(999);
    expect_answer(-1000);
}

TEST_F(PlainHypercall, UsersMayNot)
{
    enable();
    vm.sregs.cs = PlainVm::flat(8 | 3, 11, 3);
    vm.sregs.ss = PlainVm::flat(16 | 3, 3, 3);
    EXPECT_EQ(call(KVM_HC_MAP_GPA_RANGE, 0x4000, 2, 0x10), KVM_EXIT_SHUTDOWN) << "HLT, without a TSS";
    EXPECT_EQ(vm.regs.rax, static_cast<u32>(-EPERM));
    EXPECT_EQ(vm.regs.rip, kCode + 3);
}

} // namespace
} // namespace seamless::abi
