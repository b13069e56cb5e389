// SPDX-License-Identifier: Apache-2.0
// A debugger in user space: single steps, breakpoints in code and in registers, injected exceptions, and what
// the guest sees of all that, which is nothing. KVM API: "KVM_SET_GUEST_DEBUG", "KVM_TRANSLATE".
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

class GuestDebug : public testing::Test {
  protected:
    void debug(u32 control, u64 dr0 = 0, u64 dr7 = 0)
    {
        kvm_guest_debug d{};
        d.control = control;
        d.debugreg[0] = dr0;
        d.debugreg[7] = dr7;
        ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_GUEST_DEBUG, &d), 0);
    }
    void expect_stop(u32 exception, u64 pc)
    {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_DEBUG);
        EXPECT_EQ(vm.run->debug.exception, exception);
        EXPECT_EQ(vm.run->debug.pc, pc);
        EXPECT_EQ(vm.regs.rip, pc);
    }
    static constexpr u64 kBs = 0x4000;
    Host host;
    PlainVm vm{host};
};

TEST_F(GuestDebug, StepsThroughInstructions)
{
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP);
    // inc %eax; cpuid, which KVM completes; pushf; pop %ebx
    EXPECT_EQ(vm.start({0x40, 0x0f, 0xa2, 0x9c, 0x5b}), KVM_EXIT_DEBUG);
    expect_stop(1, kCode + 1);
    EXPECT_EQ(vm.run->debug.dr6, 0xffff0ff0 | kBs);
    EXPECT_EQ(vm.regs.rax, 1u);
    EXPECT_EQ(vm.regs.rflags & 0x100, 0u); // the trap flag is not the guest's
    vm.go_on();
    expect_stop(1, kCode + 3);
    vm.go_on();
    expect_stop(1, kCode + 4);
    debug(0);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
}

TEST_F(GuestDebug, StepsOverMmioThatKvmServes)
{
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP);
    vm.regs.rbx = kDevice;
    EXPECT_EQ(vm.start({0x8b, 0x03, 0x90}), KVM_EXIT_MMIO); // mov (%ebx), %eax
    vm.answer(7);
    vm.go_on(); // the load, which user space served, and behind it
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_DEBUG);
    EXPECT_EQ(vm.regs.rax, 7u);
}

TEST_F(GuestDebug, Int3ExitsAndMayBeGivenBack)
{
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP);
    EXPECT_EQ(vm.start({0x40, 0xcc}), KVM_EXIT_DEBUG);
    expect_stop(3, kCode + 1);                                                    // at the INT3, not behind
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP); // the guest's own
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 3 * 16 + 1);
    EXPECT_EQ(vm.memory.get<u32>(kStack - 12), kCode + 2); // it returns behind the INT3
}

TEST_F(GuestDebug, WithoutADebuggerInt3IsTheGuests)
{
    EXPECT_EQ(vm.start({0xcc}), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 3 * 16 + 1);
}

TEST_F(GuestDebug, BreakpointRegistersStandInForTheGuests)
{
    // mov %eax, %dr0; mov %dr0, %ecx; nop; mov %esi, (%edi)
    vm.regs.rax = 0x5678;
    vm.regs.rdi = 0x3000;
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, kCode + 6, 0x401);
    EXPECT_EQ(vm.start({0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc1, 0x90, 0x89, 0x37}), KVM_EXIT_DEBUG);
    expect_stop(1, kCode + 6);
    EXPECT_EQ(vm.run->debug.dr6 & 0xf, 1u);
    EXPECT_EQ(vm.run->debug.dr7, 0x401u);
    EXPECT_EQ(vm.regs.rcx, 0x5678u);
    kvm_debugregs regs{};
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_GET_DEBUGREGS, &regs), 0);
    EXPECT_EQ(regs.db[0], 0x5678u); // the guest's, not the debugger's
    EXPECT_EQ(regs.dr7, 0x400u);
    EXPECT_EQ(regs.dr6, 0xffff0ff0u);
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 0x3000, 0xd0401); // four bytes, written
    vm.go_on();
    expect_stop(1, kCode + 9); // a trap, behind the store
    debug(0);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_GET_DEBUGREGS, &regs), 0);
    EXPECT_EQ(regs.db[0], 0x5678u);
}

TEST_F(GuestDebug, AnExceptionThatWaitsKeepsAnotherOut)
{
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB);
    kvm_guest_debug again{};
    again.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB;
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_GUEST_DEBUG, &again), -EBUSY);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_GUEST_DEBUG, u64{8}), -EFAULT);
}

TEST_F(GuestDebug, InjectedDebugExceptionsReachTheGuest)
{
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 16 + 1);
}

TEST_F(GuestDebug, TheGuestsOwnTrapFlagWorksBehindInstructionsOfKvm)
{
    vm.regs.rflags = 0x102;
    EXPECT_EQ(vm.start({0x0f, 0xa2, 0x90}), KVM_EXIT_HLT); // cpuid
    EXPECT_EQ(vm.regs.rip, kHandlers + 16 + 1);
    EXPECT_EQ(vm.memory.get<u32>(kStack - 12), kCode + 2);
}

TEST_F(GuestDebug, InterruptsMayBeHeldBack)
{
    debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_BLOCKIRQ);
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_NMI), 0);
    vm.memory.at[kCode + 2] = 0xf4;
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kCode + 3);
    debug(0);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 2 * 16 + 1);
}

TEST_F(GuestDebug, AddressesAreTranslatedByTheGuestsTables)
{
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    kvm_translation t{};
    t.linear_address = 0x1234;
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_TRANSLATE, &t), 0);
    EXPECT_EQ(t.physical_address, 0x1234u); // no paging yet
    EXPECT_EQ(t.valid, 1);
    vm.memory.put<u32>(0x4000, 0x5003); // a directory whose first table is at 0x5000
    vm.memory.put<u32>(0x5000 + 4 * 7, 0x9003);
    vm.memory.put<u32>(0x5000 + 4, 0x1003);
    vm.sregs.cr3 = 0x4000;
    vm.sregs.cr0 |= 0x80000000;
    vm.regs.rip = kCode;
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_SREGS, &vm.sregs), 0);
    t.linear_address = 0x7abc;
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_TRANSLATE, &t), 0);
    EXPECT_EQ(t.physical_address, 0x9abcu);
    EXPECT_EQ(t.valid, 1);
    EXPECT_EQ(t.writeable, 1);
    t.linear_address = 0x8000;
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_TRANSLATE, &t), 0);
    EXPECT_EQ(t.valid, 0);
    EXPECT_EQ(t.physical_address, ~u64{0});
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_TRANSLATE, u64{8}), -EFAULT);
}

TEST_F(GuestDebug, LoweringTheTaskPriorityIsShownToAnApicInUserSpace)
{
    vm.regs.rax = 5;
    // mov cr8 needs 64-bit code or LOCK MOV CR0 on other makes: here it is a 64-bit guest's.
    kvm_sregs sregs{};
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_GET_SREGS, &sregs), 0);
    vm.memory.put<u64>(0x4000, 0x5003); // identity map of the first 2 MiB
    vm.memory.put<u64>(0x5000, 0x6003);
    vm.memory.put<u64>(0x6000, 0x83);
    sregs.cr3 = 0x4000;
    sregs.cr4 = 0x20;
    sregs.efer = 0x500;
    sregs.cr0 |= 0x80000000;
    sregs.cs.l = 1;
    sregs.cs.db = 0;
    vm.sregs = sregs;
    vm.regs.rip = kCode;
    vm.regs.rax = 5;
    vm.regs.rbx = 3;
    // mov %rax, %cr8; mov %rbx, %cr8; mov %cr8, %rcx
    EXPECT_EQ(vm.start({0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x22, 0xc3, 0x44, 0x0f, 0x20, 0xc1}),
              KVM_EXIT_SET_TPR);
    EXPECT_EQ(vm.regs.rip, kCode + 8);
    EXPECT_EQ(vm.run->cr8, 3u);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rcx, 3u);
}

class RefusedMsrs : public testing::Test {
  protected:
    RefusedMsrs()
    {
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_X86_USER_SPACE_MSR;
        cap.args[0] = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
        EXPECT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), 0);
    }
    Host host;
    PlainVm vm{host};
};

TEST_F(RefusedMsrs, SayWhetherTheyAreUnknownOrOnlyInvalid)
{
    vm.regs.rcx = 0x12345;
    EXPECT_EQ(vm.start({0x0f, 0x32}), KVM_EXIT_X86_RDMSR);
    EXPECT_EQ(vm.run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
    EXPECT_EQ(vm.run->msr.index, 0x12345u);
    vm.run->msr.data = 0x1122334455667788;
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rax, 0x55667788u);
    EXPECT_EQ(vm.regs.rdx, 0x11223344u);
    vm.regs.rip = kCode;
    vm.regs.rcx = 0x277; // PAT
    vm.regs.rax = 0xff;
    vm.regs.rdx = 0;
    EXPECT_EQ(vm.start({0x0f, 0x30}), KVM_EXIT_X86_WRMSR);
    EXPECT_EQ(vm.run->msr.reason, KVM_MSR_EXIT_REASON_INVAL);
    EXPECT_EQ(vm.run->msr.data, 0xffu);
    vm.run->msr.error = 1;
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 13 * 16 + 1); // #GP
}

} // namespace
} // namespace seamless::abi
