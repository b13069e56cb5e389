// SPDX-License-Identifier: Apache-2.0
// Interrupts of a TD: posted into its descriptor and notified, never injected; what wakes it from HLT and
// what does not.
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "spec/apic.h"
#include "unit/uapi/scripted_td.h"

namespace seamless {
namespace {

using namespace uapi_test;
namespace apic = spec::apic;

constexpr u64 kHlt = 12, kIo = 30, kRdmsr = 31, kWrmsr = 32;
constexpr u8 kNotification = 0xf2;
constexpr u32 x2apic(u32 offset) { return 0x800 + (offset >> 4); }

struct Descriptor {
    u64 pir[4];
    u64 control; // ON 0, SN 1, NV 23:16
};

class TdInterrupts : public testing::Test {
  protected:
    TdInterrupts()
    {
        td.build();
        td.tdvmcall(kWrmsr, x2apic(apic::SPIV), 0x1ff);
        stop();
        EXPECT_EQ(td.enter(), 0);
        EXPECT_EQ(td.run->exit_reason, KVM_EXIT_IO);
    }
    // Ends a run so that another can follow: the guest writes to a port.
    static void write_port(cpu::Vmcs& v, cpu::GuestContext& c)
    {
        v.exit_reason = static_cast<u32>(spec::ExitReason::TDCALL);
        v.exit_instruction_len = 4;
        c[spec::Gpr::rax] = 0;
        c[spec::Gpr::rcx] = spec::tdvmcall_mask::kLinux;
        c[spec::Gpr::r10] = 0;
        c[spec::Gpr::r11] = kIo;
        c[spec::Gpr::r12] = 1;
        c[spec::Gpr::r13] = 1;
        c[spec::Gpr::r14] = 0x80;
        c[spec::Gpr::r15] = 0;
    }
    void stop() { host.lp().then(write_port); }
    void expect_answer(u64 r10, u64 r11)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            EXPECT_EQ(c[spec::Gpr::r10], r10);
            EXPECT_EQ(c[spec::Gpr::r11], r11);
            write_port(v, c);
        });
    }
    Descriptor descriptor()
    {
        return *reinterpret_cast<const Descriptor*>(host.lp().history.back().vmcs.posted_intr_desc);
    }
    long msi(u8 vector, u32 mode = 0)
    {
        kvm_msi m{};
        m.address_lo = 0xfee00000;
        m.data = vector | mode;
        return host.ioctl(td.vm, KVM_SIGNAL_MSI, &m);
    }
    // What the processor does with a notification: takes what is posted out of the descriptor.
    void take_posted(std::vector<u8>& vectors)
    {
        host.lp().then([&vectors, this](cpu::Vmcs& v, cpu::GuestContext& c) {
            auto* pi = reinterpret_cast<Descriptor*>(v.posted_intr_desc);
            notified = !host.lp().interrupts().empty() && host.lp().interrupts()[0] == kNotification;
            __atomic_fetch_and(&pi->control, ~u64{1}, __ATOMIC_SEQ_CST);
            for (unsigned i = 0; i < 256; ++i)
                if (__atomic_fetch_and(&pi->pir[i / 64], ~bit(i % 64), __ATOMIC_SEQ_CST) & bit(i % 64))
                    vectors.push_back(static_cast<u8>(i));
            write_port(v, c);
        });
    }
    template <typename Action>
    static std::thread later(Action action, int ms = 20)
    {
        return std::thread([action, ms] {
            std::this_thread::sleep_for(std::chrono::milliseconds(ms));
            action();
        });
    }
    // KVM_RUN with a halted TD, ended by a signal.
    long enter_until_signal()
    {
        static uapi::Device* device = nullptr;
        device = host.device.get();
        struct sigaction act {};
        act.sa_handler = [](int) { device->signal_arrived(); };
        sigaction(SIGUSR1, &act, nullptr);
        const pthread_t self = pthread_self();
        std::thread waker = later([self] { pthread_kill(self, SIGUSR1); }, 200);
        const long result = td.enter();
        waker.join();
        return result;
    }

    Host host;
    Td td{host};
    bool notified = false;
};

TEST_F(TdInterrupts, AMessageIsPostedAndNotified)
{
    EXPECT_EQ(msi(0x41), 1);
    EXPECT_EQ(msi(0x41), 1); // collapses
    EXPECT_EQ(msi(0x92), 1);
    const Descriptor pi = descriptor();
    EXPECT_EQ(pi.pir[1], bit(0x41 - 0x40));
    EXPECT_EQ(pi.pir[2], bit(0x92 - 0x80));
    EXPECT_EQ(pi.control, u64{kNotification} << 16 | 1);
    std::vector<u8> vectors;
    take_posted(vectors);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_TRUE(notified); // KVM sent itself the vector before the entry
    EXPECT_EQ(vectors, (std::vector<u8>{0x41, 0x92}));
    for (const auto& entry : host.lp().history)
        EXPECT_FALSE(entry.vmcs.entry_intr_info & spec::intr_info::VALID);
}

TEST_F(TdInterrupts, ARunningTdIsNotifiedWhereItRuns)
{
    host.lp().then([this](cpu::Vmcs& v, cpu::GuestContext& c) {
        EXPECT_EQ(msi(0x50), 1);
        EXPECT_EQ(host.lp().interrupts(), std::vector<u8>{kNotification});
        EXPECT_EQ(msi(0x51), 1); // ON is set: no second one
        EXPECT_EQ(host.lp().interrupts().size(), 1u);
        write_port(v, c);
    });
    ASSERT_EQ(td.enter(), 0);
}

TEST_F(TdInterrupts, AnApicThatIsOffAndModesThatATdLacksTakeNothing)
{
    EXPECT_EQ(msi(0x41, 0x200), 0); // SMI
    EXPECT_EQ(msi(0x00, 0x700), 0); // ExtINT
    EXPECT_EQ(msi(0x00, 0x500), 1); // INIT: taken, and nothing happens
    EXPECT_EQ(msi(0x10, 0x600), 1);
    td.tdvmcall(kWrmsr, x2apic(apic::SPIV), 0xff);
    stop();
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(msi(0x41), 0);
    EXPECT_EQ(descriptor().pir[1], 0u);
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_SMI, u64{0}), -ENOTTY);
}

TEST_F(TdInterrupts, AnInterruptCommandByTdvmcallIsPosted)
{
    td.tdvmcall(kWrmsr, x2apic(apic::ICR), 0x40077); // to itself
    std::vector<u8> vectors;
    take_posted(vectors);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(vectors, std::vector<u8>{0x77});
    td.tdvmcall(kWrmsr, x2apic(apic::ICR), 0x40077 | bit(13));
    expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, kWrmsr);
    ASSERT_EQ(td.enter(), 0);
    td.tdvmcall(kRdmsr, x2apic(apic::ICR));
    expect_answer(0, 0x40077);
    ASSERT_EQ(td.enter(), 0);
    td.tdvmcall(kWrmsr, x2apic(apic::EOI), 0); // the processor's own
    expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, kWrmsr);
    ASSERT_EQ(td.enter(), 0);
}

TEST_F(TdInterrupts, HaltWaitsForAPostedInterrupt)
{
    td.tdvmcall(kHlt, 0);
    std::vector<u8> vectors;
    take_posted(vectors);
    std::thread sender = later([this] { EXPECT_EQ(msi(0x60), 1); });
    ASSERT_EQ(td.enter(), 0);
    sender.join();
    EXPECT_EQ(vectors, std::vector<u8>{0x60});
}

TEST_F(TdInterrupts, HaltWithInterruptsBlockedIgnoresThem)
{
    td.tdvmcall(kHlt, 1);
    EXPECT_EQ(msi(0x60), 1);
    EXPECT_EQ(enter_until_signal(), -EINTR);
    kvm_mp_state state{};
    ASSERT_EQ(host.ioctl(td.vcpu, KVM_GET_MP_STATE, &state), 0);
    EXPECT_EQ(state.mp_state, KVM_MP_STATE_HALTED);
    state.mp_state = KVM_MP_STATE_RUNNABLE; // what a VMM can do about it
    ASSERT_EQ(host.ioctl(td.vcpu, KVM_SET_MP_STATE, &state), 0);
    std::vector<u8> vectors;
    take_posted(vectors);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(vectors, std::vector<u8>{0x60});
}

TEST_F(TdInterrupts, AnNmiIsGivenToTheModuleAndLaterHaltsBlockAgain)
{
    td.tdvmcall(kHlt, 1);
    host.lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(spec::ExitReason::EXTERNAL_INTERRUPT);
    });
    td.tdvmcall(kHlt, 1);
    std::thread sender = later([this] { EXPECT_EQ(host.ioctl(td.vcpu, KVM_NMI, u64{0}), 0); });
    EXPECT_EQ(enter_until_signal(), -EINTR); // of the second HLT
    sender.join();
    EXPECT_EQ(host.lp().left(), 0u);
    bool injected = false;
    for (const auto& entry : host.lp().history)
        injected |= entry.vmcs.entry_intr_info == (spec::intr_info::VALID | spec::intr_info::NMI | 2);
    EXPECT_TRUE(injected);
}

TEST_F(TdInterrupts, TheTimerPostsItsVector)
{
    td.tdvmcall(kWrmsr, x2apic(apic::LVT_TIMER), 0x61);
    td.tdvmcall(kWrmsr, x2apic(apic::TDCR), 0xb);
    td.tdvmcall(kWrmsr, x2apic(apic::TMICT), 5'000'000); // 1 ns each
    td.tdvmcall(kHlt, 0);
    std::vector<u8> vectors;
    take_posted(vectors);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(vectors, std::vector<u8>{0x61});
}

TEST_F(TdInterrupts, WhatKvmDoesNotHaveItDoesNotShow)
{
    kvm_vcpu_events events{};
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_NMI, u64{0}), 0);
    ASSERT_EQ(host.ioctl(td.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
    EXPECT_EQ(events.nmi.pending, 1);
    EXPECT_EQ(events.nmi.masked, 0);
    events.interrupt.shadow = 3; // set_interrupt_shadow is nothing for a TD
    ASSERT_EQ(host.ioctl(td.vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
    ASSERT_EQ(host.ioctl(td.vcpu, KVM_GET_VCPU_EVENTS, &events), 0);
    EXPECT_EQ(events.interrupt.shadow, 0);
    kvm_lapic_state lapic{};
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_GET_LAPIC, &lapic), -EINVAL);
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_SET_LAPIC, &lapic), -EINVAL);
    kvm_interrupt irq{.irq = 0x30}; // stored, and never delivered
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_INTERRUPT, &irq), 0);
    EXPECT_EQ(host.ioctl(td.vcpu, KVM_INTERRUPT, &irq), -EEXIST);
}

} // namespace
} // namespace seamless
