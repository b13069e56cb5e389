// SPDX-License-Identifier: Apache-2.0
// What interrupts, NMIs and saved events of plain VMs do to the next VM entry.
#include "unit/uapi/interrupts.h"

namespace seamless::uapi_test {
namespace {

TEST_F(Interrupts, WithoutAnIrqchipTheIoctlsAreRefused)
{
    const int plain = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
    kvm_msi m{};
    kvm_irq_routing r{};
    kvm_irq_level line{};
    kvm_irqfd fd{};
    EXPECT_EQ(call(plain, KVM_SIGNAL_MSI, &m), -EINVAL);
    EXPECT_EQ(call(plain, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    EXPECT_EQ(call(plain, KVM_IRQ_LINE, &line), -ENXIO);
    EXPECT_EQ(call(plain, KVM_IRQFD, &fd), -EAGAIN);
    EXPECT_EQ(call(plain, KVM_CREATE_IRQCHIP), -ENOTTY);
    EXPECT_EQ(call(vm, KVM_CREATE_IRQCHIP), -EEXIST); // it is split already
    const int cpu = static_cast<int>(call(plain, KVM_CREATE_VCPU, u64{0}));
    kvm_lapic_state lapic{};
    EXPECT_EQ(call(cpu, KVM_GET_LAPIC, &lapic), -EINVAL);
    EXPECT_EQ(call(cpu, KVM_SET_LAPIC, &lapic), -EINVAL);
    kvm_mp_state halted{KVM_MP_STATE_HALTED};
    EXPECT_EQ(call(cpu, KVM_SET_MP_STATE, &halted), -EINVAL);
    halted.mp_state = 9;
    EXPECT_EQ(call(vcpu, KVM_SET_MP_STATE, &halted), -EINVAL);
    EXPECT_EQ(call(sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_IRQ_ROUTING}), 4096);
}

TEST_F(Interrupts, AMessageIsInjectedAtTheNextEntry)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    EXPECT_EQ(msi(7, 0x41), -EPERM);   // nobody is there: KVM's -1
    EXPECT_EQ(msi(0, 0x41, 0x200), 0); // an SMI: addressed, not taken
    kvm_msi bad{};
    bad.flags = 2;
    EXPECT_EQ(call(vm, KVM_SIGNAL_MSI, &bad), -EINVAL);
    bad.flags = 0;
    bad.address_hi = 1; // reserved with 32-bit ids
    EXPECT_EQ(call(vm, KVM_SIGNAL_MSI, &bad), -EINVAL);
    wrmsr(x2apic(apic::EOI), 0);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN);
    EXPECT_EQ(injected(0), external(0x41));
    EXPECT_FALSE(injected(1) & intr::VALID);
}

TEST_F(Interrupts, AGuestThatCannotTakeItGetsAWindow)
{
    set_rflags(vcpu, spec::rflags::FIXED1);
    EXPECT_EQ(msi(0, 0x41), 1);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::INTERRUPT_WINDOW);
        v.rflags |= spec::rflags::IF;
        v.interruptibility = spec::interruptibility::STI; // the window opens after the next instruction
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::INTERRUPT_WINDOW);
        v.interruptibility = 0;
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN); // the windows were KVM's own
    for (const std::size_t entry : {0u, 1u}) {
        EXPECT_FALSE(injected(entry) & intr::VALID);
        EXPECT_TRUE(lp().history[entry].vmcs.proc_based & spec::proc::INTERRUPT_WINDOW_EXITING);
    }
    EXPECT_EQ(injected(2), external(0x41));
    EXPECT_FALSE(lp().history[2].vmcs.proc_based & spec::proc::INTERRUPT_WINDOW_EXITING);
}

TEST_F(Interrupts, AnInterruptThatDidNotArriveIsInjectedAgain)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
        v.idt_vectoring_info = external(0x41);
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(injected(1), external(0x41));
}

TEST_F(Interrupts, HaltWaitsForAnInterrupt)
{
    set_rflags(vcpu, kIf);
    exit(ExitReason::HLT);
    stop();
    std::thread sender = later([this] { EXPECT_EQ(msi(0, 0x55), 1); });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), external(0x55));
    EXPECT_EQ(mp_state(vcpu), KVM_MP_STATE_RUNNABLE);
}

TEST_F(Interrupts, HaltWithInterruptsOffWaitsForAnNmi)
{
    set_rflags(vcpu, spec::rflags::FIXED1);
    exit(ExitReason::HLT);
    stop();
    EXPECT_EQ(msi(0, 0x55), 1);
    std::thread sender = later([this] {
        EXPECT_EQ(mp_state(vcpu), KVM_MP_STATE_HALTED);
        EXPECT_EQ(call(vcpu, KVM_NMI), 0);
    });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), intr::VALID | intr::NMI | 2);
}

TEST_F(Interrupts, ASecondNmiWaitsForItsWindow)
{
    for (int i = 0; i < 3; ++i) // the third collapses into the second
        EXPECT_EQ(call(vcpu, KVM_NMI), 0);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
        v.interruptibility = spec::interruptibility::NMI; // the handler runs
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::NMI_WINDOW);
        v.interruptibility = 0;
    });
    exit(ExitReason::EXTERNAL_INTERRUPT);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    const u32 nmi = intr::VALID | intr::NMI | 2;
    EXPECT_EQ(injected(0), nmi);
    EXPECT_FALSE(injected(1) & intr::VALID);
    EXPECT_TRUE(lp().history[1].vmcs.proc_based & spec::proc::NMI_WINDOW_EXITING);
    EXPECT_EQ(injected(2), nmi);
    EXPECT_FALSE(injected(3) & intr::VALID);
}

TEST_F(Interrupts, TaskPriorityGoesThroughCr8)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cr8 = 4;
    ASSERT_EQ(call(vcpu, KVM_SET_SREGS, &sregs), 0);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext& c) { // MOV CR8, RBX
        v.exit_reason = static_cast<u32>(ExitReason::CR_ACCESS);
        v.exit_qualification = 8 | 3 << 8;
        v.exit_instruction_len = 4;
        c[spec::Gpr::rbx] = 3;
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) { // MOV RSI, CR8
        v.exit_reason = static_cast<u32>(ExitReason::CR_ACCESS);
        v.exit_qualification = 8 | 1 << 4 | 6 << 8;
        v.exit_instruction_len = 4;
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_FALSE(injected(0) & intr::VALID); // held back
    EXPECT_EQ(injected(1), external(0x41));
    EXPECT_EQ(lp().history[2].gpr[static_cast<unsigned>(spec::Gpr::rsi)], 3u);
    EXPECT_EQ(run->cr8, 3u);
}

TEST_F(Interrupts, PendingEventsCanBeSavedAndRestored)
{
    kvm_vcpu_events events{};
    events.exception = {.injected = 1, .nr = 13, .has_error_code = 1, .pending = 0, .error_code = 0x10};
    events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
    events.nmi.pending = 1;
    events.nmi.masked = 1;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cr0 |= spec::cr0::PE; // real mode has no error codes
    ASSERT_EQ(call(vcpu, KVM_SET_SREGS, &sregs), 0);
    ASSERT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
    kvm_vcpu_events back{};
    ASSERT_EQ(call(vcpu, KVM_GET_VCPU_EVENTS, &back), 0);
    EXPECT_EQ(back.exception.injected, 1);
    EXPECT_EQ(back.exception.nr, 13);
    EXPECT_EQ(back.exception.error_code, 0x10u);
    EXPECT_EQ(back.interrupt.shadow, KVM_X86_SHADOW_INT_STI);
    EXPECT_EQ(back.nmi.pending, 1);
    EXPECT_EQ(back.nmi.masked, 1);
    events.exception.nr = 32;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events.exception.nr = 2; // NMI is no exception
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events = {};
    events.flags = 0x80;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events.flags = KVM_VCPUEVENT_VALID_SMM;
    events.smi.smm = 1;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
}

TEST_F(Interrupts, UserSpacesOwnInterruptPassesThroughLint0)
{
    set_rflags(vcpu, kIf);
    kvm_interrupt irq{.irq = 0x30};
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), 0);
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), -EEXIST);
    irq.irq = 256;
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), -EINVAL);
    wrmsr(x2apic(apic::LVT_LINT0), 0x700);
    stop();
    ASSERT_EQ(set_msr(vcpu, x2apic(apic::LVT_LINT0), apic::LVT_MASKED), 1);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_FALSE(injected(0) & intr::VALID);
    EXPECT_EQ(injected(1), external(0x30));
}

} // namespace
} // namespace seamless::uapi_test
