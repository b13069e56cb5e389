// SPDX-License-Identifier: Apache-2.0
// NMIs of a TD, the one event that KVM can inject: by ioctl and by message, until the guest's handler.
#include "abi/running.h"

namespace seamless::abi {
namespace {

constexpr u64 kHlt = 12;

class TdNmi : public testing::Test {
  protected:
    void nmi() { EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_NMI), 0); }
    // While the vCPU runs: a vCPU's own ioctls would wait for the end of KVM_RUN in a kernel.
    void nmi_by_message()
    {
        kvm_msi message{};
        message.address_lo = 0xfee00000;
        message.data = 4u << 8; // delivery mode NMI; the vector means nothing
        EXPECT_EQ(host.ioctl(td.vm, KVM_SIGNAL_MSI, &message), 1);
    }
    // Carries an order out whose handlers pause; `on_pause` gets how often they have.
    void pausing(Mailbox order, u64 pause, const std::function<void(unsigned)>& on_pause)
    {
        order.pause = pause;
        td.carry_out(0, order, [&](kvm_run& run) {
            if (run.exit_reason == KVM_EXIT_IO && run.io.port == TdRobot::kPausePort)
                on_pause(++pauses);
            return true;
        });
    }
    // HLT that says whether interrupts are blocked.
    static Mailbox halt(u64 blocked)
    {
        Mailbox order{};
        order.order = Mailbox::tdcall;
        order.rcx = TdRobot::kMask;
        order.r11 = kHlt;
        order.r12 = blocked;
        return order;
    }
    void wait_until_halted()
    {
        kvm_mp_state state{};
        do {
            std::this_thread::yield();
            ASSERT_EQ(host.ioctl(td.vcpus[0], KVM_GET_MP_STATE, &state), 0);
        } while (state.mp_state != KVM_MP_STATE_HALTED);
    }
    Host host;
    TdRobot td{host};
    unsigned pauses = 0;
};

TEST_F(TdNmi, IsTakenAtTheNextEntry)
{
    nmi();
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 1u);
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 0u) << "once";
}

TEST_F(TdNmi, TwiceBeforeAnEntryIsOnce)
{
    nmi();
    nmi();
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 1u);
    kvm_vcpu_events events{};
    ASSERT_EQ(host.ioctl(td.vcpus[0], KVM_GET_VCPU_EVENTS, &events), 0);
    EXPECT_EQ(events.nmi.pending, 0);
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 0u);
}

TEST_F(TdNmi, ComesByMessageToo)
{
    nmi_by_message(); // KVM's APIC is off: that is no reason
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 1u);
    EXPECT_EQ(td.mailbox().interrupts, 0u);
}

TEST_F(TdNmi, InterruptsARunningGuest)
{
    Running running(td, 0, access(Mailbox::hammer, TdRobot::kSharedView + TdRobot::kMailboxes + kPageSize));
    running.wait_for_rounds(1000);
    nmi_by_message();
    while (td.mailbox().nmis == 0)
        std::this_thread::yield();
    running.wait_for_rounds(1000); // it goes on
    running.stop();
    EXPECT_EQ(running.result, KVM_EXIT_IO);
    EXPECT_EQ(td.mailbox().nmis, 1u);
}

TEST_F(TdNmi, WaitsUntilTheGuestHasReadItsVeInformation)
{
    Mailbox order{};
    order.order = Mailbox::store;
    order.rdi = TdRobot::kHighView + TdRobot::kDevice - (u64{3} << 30);
    pausing(order, Mailbox::in_ve, [&](unsigned) {
        EXPECT_EQ(td.mailbox().nmis, 0u);
        nmi();
        nmi();
    });
    EXPECT_EQ(pauses, 1u);
    EXPECT_EQ(td.mailbox().ve_count, 1u);
    EXPECT_EQ(td.mailbox().ve_reason, 48u);
    EXPECT_EQ(td.mailbox().nmis_before_ve, 0u) << "it would have lost what VE_INFO says";
    EXPECT_EQ(td.mailbox().nmis_after_ve, 1u) << "taken behind TDG.VP.VEINFO.GET";
    EXPECT_EQ(td.mailbox().nmis, 1u);
}

TEST_F(TdNmi, BlocksTheNextUntilIret)
{
    nmi();
    pausing({}, Mailbox::in_nmi, [&](unsigned n) {
        EXPECT_EQ(td.mailbox().nmis, n);
        EXPECT_EQ(td.mailbox().nmi_depth, 1u);
        if (n == 1) { // two while the first is handled: one is remembered
            nmi();
            nmi();
        }
    });
    EXPECT_EQ(pauses, 2u);
    EXPECT_EQ(td.mailbox().nmis, 2u);
    EXPECT_EQ(td.mailbox().nmis_in_nmi, 0u);
    td.carry_out(0, {});
    EXPECT_EQ(td.mailbox().nmis, 0u);
}

TEST_F(TdNmi, WakesAHaltWhateverItSaysOfInterrupts)
{
    for (const u64 blocked : {0u, 1u}) {
        Running running(td, 0, halt(blocked));
        wait_until_halted();
        nmi_by_message();
        running.join();
        EXPECT_EQ(running.result, KVM_EXIT_IO);
        EXPECT_TRUE(td.reported());
        EXPECT_EQ(td.mailbox().nmis, 1u) << blocked;
        EXPECT_EQ(td.mailbox().r10, 0u);
    }
}

} // namespace
} // namespace seamless::abi
