// SPDX-License-Identifier: Apache-2.0
// The local APIC register by register, with a clock and timers that move only when the test says so.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kvm/irqchip/lapic.h"

namespace seamless::kvm {
namespace {

using namespace spec::apic;

class Clock final : public base::Clock {
  public:
    u64 tsc() override { return now * 2 - now * 2 / slow; }
    u64 tsc_hz() override { return 2'000'000'000; }
    u64 monotonic_ns() override { return now; }
    u64 realtime_ns() override { return now; }
    u64 now = 1'000'000;
    u64 slow = ~u64{0}; // this part of it the counter is behind the clock
};

class Timers final : public HostTimers {
  public:
    explicit Timers(Clock& clock) : clock_(clock) {}
    std::unique_ptr<HostTimer> make(std::function<void()> on_expiry) override
    {
        auto timer = std::make_unique<Timer>(*this, std::move(on_expiry));
        timer_ = timer.get();
        return timer;
    }
    [[nodiscard]] bool armed() const { return timer_ && timer_->armed; }
    // Lets time pass, and every deadline in it come.
    void advance(u64 ns)
    {
        const u64 end = clock_.now + ns;
        while (armed() && timer_->deadline <= end) {
            clock_.now = std::max(clock_.now, timer_->deadline);
            timer_->armed = false;
            timer_->on_expiry();
        }
        clock_.now = end;
    }
    // A callback that was already on its way when the timer was stopped or set anew.
    void late_callback() { timer_->on_expiry(); }

  private:
    struct Timer final : HostTimer {
        Timer(Timers& o, std::function<void()> f) : owner(o), on_expiry(std::move(f)) {}
        ~Timer() override { owner.timer_ = nullptr; }
        void arm(u64 at) override
        {
            armed = true;
            deadline = at;
        }
        void cancel() override { armed = false; }
        Timers& owner;
        std::function<void()> on_expiry;
        bool armed = false;
        u64 deadline = 0;
    };
    Clock& clock_;
    Timer* timer_ = nullptr;
};

class Port final : public LapicPort {
  public:
    explicit Port(Clock& clock) : clock_(clock) {}
    u64 guest_tsc() override { return clock_.tsc(); }
    u64 guest_tsc_khz() override { return 2'000'000; }
    u64 bus_cycle_ns() override { return bus_ns; }
    void send_ipi(const Irq& irq) override { ipis.push_back(irq); }
    void timer_interrupt(u8 vector) override { timer_vectors.push_back(vector); }
    void end_of_interrupt(u8 vector) override { eois.push_back(vector); }

    u64 bus_ns = 1;
    std::vector<Irq> ipis;
    std::vector<u8> timer_vectors, eois;

  private:
    Clock& clock_;
};

constexpr u32 msr(u32 offset) { return 0x800 + (offset >> 4); }
constexpr u64 kX2apicBase = kPageBase | BASE_ENABLE | BASE_X2APIC;

class LapicTest : public testing::Test {
  protected:
    void to_x2apic() { ASSERT_TRUE(apic.set_base(kX2apicBase, true)); }
    void write(u32 offset, u64 value)
    {
        EXPECT_TRUE(apic.write_msr(msr(offset), value)) << std::hex << offset;
    }
    bool refused(u32 offset, u64 value) { return !apic.write_msr(msr(offset), value).ok(); }
    u64 read(u32 offset)
    {
        const auto value = apic.read_msr(msr(offset));
        EXPECT_TRUE(value.ok()) << std::hex << offset;
        return value.value_or(~u64{0});
    }
    u32 page(u32 offset)
    {
        u32 value = 0;
        EXPECT_TRUE(apic.mmio_read(kPageBase + offset, 4, &value));
        return value;
    }
    void page(u32 offset, u32 value) { EXPECT_TRUE(apic.mmio_write(kPageBase + offset, 4, &value)); }

    Clock clock;
    Timers timers{clock};
    Port port{clock};
    Lapic apic{port, clock, timers, 0x13, false};
};

TEST_F(LapicTest, ResetsAsTheManualSays)
{
    EXPECT_EQ(apic.base(), u64{kPageBase | BASE_ENABLE});
    EXPECT_EQ(page(ID), 0x13000000u);
    EXPECT_EQ(page(LVR) & 0xff00ff, 0x50014u);
    EXPECT_EQ(page(DFR), ~0u);
    EXPECT_EQ(page(LDR), 0u);
    EXPECT_EQ(page(SPIV), 0xffu);
    for (const u32 lvt : {LVT_TIMER, LVT_THERMAL, LVT_PERFORMANCE, LVT_LINT0, LVT_LINT1, LVT_ERROR})
        EXPECT_EQ(page(lvt), LVT_MASKED);
    for (const u32 zero : {TPR, PPR, ISR, TMR, IRR, ESR, ICR, ICR2, TMICT, TMCCT, TDCR})
        EXPECT_EQ(page(zero), 0u) << std::hex << zero;
    Lapic boot(port, clock, timers, 0, true);
    EXPECT_EQ(boot.base(), u64{kPageBase | BASE_ENABLE | BASE_BSP});
    EXPECT_TRUE(boot.accepts_external());
    EXPECT_FALSE(apic.accepts_external());
}

TEST_F(LapicTest, X2apicMsrsExistOnlyInX2apicMode)
{
    EXPECT_FALSE(apic.read_msr(msr(ID)));
    EXPECT_FALSE(apic.write_msr(msr(TPR), 0));
    to_x2apic();
    EXPECT_EQ(read(ID), 0x13u);
    EXPECT_EQ(read(LDR), u64{1 << 16 | 1 << 3});
    u32 value = 0; // the page stays claimed, and empty
    EXPECT_TRUE(apic.mmio_read(kPageBase + ID, 4, &value));
    EXPECT_EQ(value, ~0u);
}

TEST_F(LapicTest, RefusesWhatX2apicFormDoesNotHave)
{
    to_x2apic();
    for (const u32 offset : {DFR, ICR2, APR, 0xc0u, 0x000u, 0x2f0u, 0x3f0u, 0x10u})
        EXPECT_FALSE(apic.read_msr(msr(offset))) << std::hex << offset;
    EXPECT_FALSE(apic.read_msr(msr(EOI))); // write-only
    for (const u32 offset : {ID, LVR, PPR, LDR, ISR, TMR, IRR, TMCCT, DFR, ICR2})
        EXPECT_TRUE(refused(offset, 0)) << std::hex << offset;
    EXPECT_TRUE(refused(ESR, 1));
    EXPECT_TRUE(refused(TPR, bit(32)));
    EXPECT_TRUE(refused(SELF_IPI, 0x100));
    for (const unsigned reserved : {13u, 16u, 17u, 20u, 31u})
        EXPECT_TRUE(refused(ICR, bit(reserved))) << reserved;
    EXPECT_TRUE(port.ipis.empty());
    write(ESR, 0);
    write(LVT_LINT0, ~0u); // reserved bits of the low half are dropped
    EXPECT_EQ(read(LVT_LINT0), u64{LVT_MASKED | 0xf7ff});
}

TEST_F(LapicTest, ModesChangeOnlyAsAllowed)
{
    EXPECT_FALSE(apic.set_base(kPageBase | BASE_X2APIC, true)); // x2APIC without enable
    EXPECT_FALSE(apic.set_base(kPageBase | BASE_ENABLE | 1, true));
    EXPECT_FALSE(apic.set_base(bit(60), true));
    ASSERT_TRUE(apic.set_base(kX2apicBase, false));
    EXPECT_FALSE(apic.set_base(kPageBase | BASE_ENABLE, false)); // back to xAPIC: not by the guest
    ASSERT_TRUE(apic.set_base(kPageBase, false));
    EXPECT_FALSE(apic.set_base(kX2apicBase, false)); // disabled to x2APIC
    ASSERT_TRUE(apic.set_base(kPageBase | BASE_ENABLE, false));
    EXPECT_EQ(page(ID), 0x13000000u);
    apic.set_features(false, true);
    EXPECT_FALSE(apic.set_base(kX2apicBase, true)); // CPUID does not offer it
    ASSERT_TRUE(apic.set_base(kPageBase, true));
    u32 value = 0;
    EXPECT_FALSE(apic.mmio_read(kPageBase + ID, 4, &value)); // disabled: plain memory
}

TEST_F(LapicTest, ThePageTakesAlignedWordsOnly)
{
    page(TPR, 0x1234);
    EXPECT_EQ(page(TPR), 0x34u);
    const u64 wide = 0x55;
    EXPECT_TRUE(apic.mmio_write(kPageBase + TPR, 8, &wide));
    const u32 other = 0x66;
    EXPECT_TRUE(apic.mmio_write(kPageBase + TPR + 4, 4, &other));
    EXPECT_EQ(page(TPR), 0x34u);
    u8 byte = 0;
    EXPECT_TRUE(apic.mmio_read(kPageBase + ID + 3, 1, &byte));
    EXPECT_EQ(byte, 0x13);
    page(LDR, 0x01020304);
    EXPECT_EQ(page(LDR), 0x01000000u);
    page(DFR, 0);
    EXPECT_EQ(page(DFR), 0x0fffffffu);
    EXPECT_FALSE(apic.mmio_read(kPageBase + 0x400, 4, &byte));
}

TEST_F(LapicTest, PrioritiesNestAndEndOfInterruptUnnests)
{
    to_x2apic();
    EXPECT_TRUE(apic.request(0x31, false));
    EXPECT_FALSE(apic.request(0x31, false)); // collapses
    EXPECT_TRUE(apic.request(0x52, true));
    EXPECT_EQ(read(IRR + 0x20), bit(0x52 - 0x40));
    EXPECT_EQ(read(TMR + 0x20), bit(0x52 - 0x40));
    EXPECT_EQ(apic.acknowledge(), 0x52);
    EXPECT_EQ(read(ISR + 0x20), bit(0x52 - 0x40));
    EXPECT_EQ(read(PPR), 0x50u);
    EXPECT_EQ(apic.pending(), -1); // 31H has a lower priority than what is in service
    apic.request(0x5f, false);
    EXPECT_EQ(apic.pending(), -1); // the same class waits too
    apic.request(0x60, false);
    EXPECT_EQ(apic.acknowledge(), 0x60);
    write(EOI, 0);
    write(EOI, 0);
    EXPECT_EQ(port.eois, (std::vector<u8>{0x60, 0x52}));
    EXPECT_EQ(apic.acknowledge(), 0x5f);
    write(EOI, 0);
    EXPECT_EQ(apic.acknowledge(), 0x31);
    write(EOI, 0);
    write(EOI, 0); // nothing in service
    EXPECT_EQ(port.eois.size(), 4u);
    EXPECT_EQ(apic.acknowledge(), -1);
}

TEST_F(LapicTest, TheTaskPriorityHoldsInterruptsBack)
{
    to_x2apic();
    write(TPR, 0x45);
    EXPECT_EQ(read(PPR), 0x45u);
    EXPECT_EQ(apic.task_priority() >> 4, 4); // CR8
    apic.request(0x4f, false);
    EXPECT_EQ(apic.pending(), -1);
    apic.set_task_priority(0x30);
    EXPECT_EQ(apic.pending(), 0x4f);
}

// What each exit asks for without the lock, behind every way to change it.
TEST_F(LapicTest, WhatIsShownWithoutTheLockFollows)
{
    constexpr u32 kExtInt = 0x700;
    page(TPR, 0x55);
    EXPECT_EQ(apic.task_priority(), 0x55);
    page(SPIV, 0x1ff);
    page(LVT_LINT0, kExtInt);
    EXPECT_TRUE(apic.accepts_external());
    page(SPIV, 0xff); // masks the LVT
    EXPECT_FALSE(apic.accepts_external());
    to_x2apic();
    EXPECT_EQ(apic.base(), kX2apicBase);
    write(SPIV, 0x1ff);
    write(LVT_LINT0, kExtInt);
    EXPECT_TRUE(apic.accepts_external());
    write(TPR, 0x66);
    EXPECT_EQ(apic.task_priority(), 0x66);
    apic.init();
    EXPECT_EQ(apic.task_priority(), 0);
    EXPECT_FALSE(apic.accepts_external());
    ASSERT_TRUE(apic.set_base(0, true)); // off: the 8259's interrupts pass by
    EXPECT_TRUE(apic.accepts_external());
    u32 value = 0;
    EXPECT_FALSE(apic.mmio_read(kPageBase + TPR, 4, &value));
    EXPECT_FALSE(apic.mmio_write(kPageBase + TPR, 4, &value));
}

TEST_F(LapicTest, ThePageMovesWithItsBase)
{
    constexpr u64 kElsewhere = 0xfed00000;
    ASSERT_TRUE(apic.set_base(kElsewhere | BASE_ENABLE, true));
    u32 value = 0;
    EXPECT_FALSE(apic.mmio_read(kPageBase + LVR, 4, &value));
    EXPECT_TRUE(apic.mmio_read(kElsewhere + LVR, 4, &value));
    EXPECT_EQ(value & 0xff, 0x14u);
}

TEST_F(LapicTest, IcrWritesBecomeInterrupts)
{
    to_x2apic();
    write(ICR, u64{0x12345678} << 32 | 0xcd00 | 0x41 | ICR_BUSY);
    ASSERT_EQ(port.ipis.size(), 1u);
    EXPECT_EQ(port.ipis[0].dest_id, 0x12345678u);
    EXPECT_EQ(port.ipis[0].vector, 0x41);
    EXPECT_EQ(port.ipis[0].mode, DeliveryMode::init);
    EXPECT_TRUE(port.ipis[0].logical);
    EXPECT_TRUE(port.ipis[0].assert);
    EXPECT_TRUE(port.ipis[0].level_triggered);
    EXPECT_EQ(read(ICR), u64{0x12345678} << 32 | 0xcd41); // never busy
    write(SELF_IPI, 0x77);
    EXPECT_EQ(port.ipis[1].shorthand, Shorthand::self);
    EXPECT_EQ(port.ipis[1].vector, 0x77);
}

TEST_F(LapicTest, TheXapicIcrTakesItsDestinationFromTheHighWord)
{
    page(ICR2, 0x05ffffff);
    page(ICR, 0x000c4033);
    ASSERT_EQ(port.ipis.size(), 1u);
    EXPECT_EQ(port.ipis[0].dest_id, 5u);
    EXPECT_EQ(port.ipis[0].shorthand, Shorthand::others);
}

TEST_F(LapicTest, SoftwareDisableMasksTheLvt)
{
    to_x2apic();
    write(LVT_LINT1, 0x400);
    EXPECT_EQ(read(LVT_LINT1), u64{LVT_MASKED | 0x400}); // disabled after reset
    write(SPIV, 0x1ff);
    EXPECT_TRUE(apic.address().software_enabled);
    write(LVT_LINT1, 0x400);
    EXPECT_EQ(read(LVT_LINT1), 0x400u);
    write(SPIV, 0xff);
    EXPECT_EQ(read(LVT_LINT1), u64{LVT_MASKED | 0x400});
}

TEST_F(LapicTest, OneShotCountsDownAndFiresOnce)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    write(TDCR, 0xb); // divide by 1
    write(LVT_TIMER, 0x40);
    write(TMICT, 1000);
    EXPECT_EQ(read(TMCCT), 1000u);
    timers.advance(400);
    EXPECT_EQ(read(TMCCT), 600u);
    timers.advance(599);
    EXPECT_TRUE(port.timer_vectors.empty());
    timers.advance(1);
    EXPECT_EQ(port.timer_vectors, std::vector<u8>{0x40});
    EXPECT_EQ(read(TMCCT), 0u);
    EXPECT_FALSE(timers.armed());
    write(TMICT, 500);
    write(TMICT, 0); // stops it
    EXPECT_FALSE(timers.armed());
    timers.late_callback(); // was on its way
    EXPECT_EQ(port.timer_vectors.size(), 1u);
}

TEST_F(LapicTest, TheDivisorAndTheBusCycleScaleTheTimer)
{
    port.bus_ns = 40; // 25 MHz
    to_x2apic();
    write(SPIV, 0x1ff);
    write(LVT_TIMER, 0x40);
    constexpr struct {
        u32 code, divisor;
    } kDivisors[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (const auto& [code, divisor] : kDivisors) {
        write(TDCR, code);
        write(TMICT, 100);
        timers.advance(u64{40} * divisor * 100 - 1);
        EXPECT_TRUE(port.timer_vectors.empty()) << divisor;
        timers.advance(1);
        EXPECT_EQ(port.timer_vectors.size(), 1u) << divisor;
        port.timer_vectors.clear();
    }
}

TEST_F(LapicTest, ADivisorChangedOnTheWayScalesWhatIsLeft)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    write(TDCR, 0xb);
    write(LVT_TIMER, 0x40);
    write(TMICT, 1000);
    timers.advance(400);
    write(TDCR, 0); // divide by 2
    EXPECT_EQ(read(TMCCT), 600u);
    timers.advance(1199);
    EXPECT_TRUE(port.timer_vectors.empty());
    timers.advance(1);
    EXPECT_EQ(port.timer_vectors.size(), 1u);
}

TEST_F(LapicTest, PeriodicGoesOnAndIsNotTooFast)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    write(TDCR, 0xb);
    write(LVT_TIMER, 0x20041);
    write(TMICT, 1'000'000);
    timers.advance(3'500'000);
    EXPECT_EQ(port.timer_vectors, (std::vector<u8>{0x41, 0x41, 0x41}));
    EXPECT_EQ(read(TMCCT), 500'000u);
    write(LVT_TIMER, 0x20041 | LVT_MASKED);
    timers.advance(1'000'000);
    EXPECT_EQ(port.timer_vectors.size(), 3u); // masked, but running
    EXPECT_TRUE(timers.armed());
    write(LVT_TIMER, 0x20041);
    write(TMICT, 10); // a storm: stretched to 200 us
    timers.advance(1'000'000);
    EXPECT_EQ(port.timer_vectors.size(), 8u);
}

TEST_F(LapicTest, TheTscDeadlineIsReachedWhereTheCounterIsSlow)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    write(LVT_TIMER, 0x40042);
    clock.slow = 1000;
    const u64 deadline = clock.tsc() + 20'000'000;
    apic.set_tsc_deadline(deadline);
    while (port.timer_vectors.empty())
        timers.advance(1);
    EXPECT_GE(clock.tsc(), deadline);
    EXPECT_LE(clock.tsc(), deadline + 10);
}

TEST_F(LapicTest, TheTscDeadlineFiresAndReadsZeroAfterwards)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    apic.set_tsc_deadline(clock.tsc() + 100); // ignored: another mode
    EXPECT_EQ(apic.tsc_deadline(), 0u);
    write(LVT_TIMER, 0x40042);
    write(TMICT, 5); // ignored in this mode
    EXPECT_EQ(read(TMICT), 0u);
    const u64 deadline = clock.tsc() + 2000;
    apic.set_tsc_deadline(deadline);
    EXPECT_EQ(apic.tsc_deadline(), deadline);
    timers.advance(999);
    EXPECT_TRUE(port.timer_vectors.empty());
    timers.advance(2);
    EXPECT_EQ(port.timer_vectors, std::vector<u8>{0x42});
    EXPECT_EQ(apic.tsc_deadline(), 0u);
    apic.set_tsc_deadline(1); // long past
    EXPECT_EQ(port.timer_vectors.size(), 2u);
    apic.set_tsc_deadline(clock.tsc() + 2000);
    apic.set_tsc_deadline(0); // disarms
    EXPECT_FALSE(timers.armed());
    apic.set_tsc_deadline(~u64{0}); // centuries away
    EXPECT_TRUE(timers.armed());
    write(LVT_TIMER, 0x42); // leaving the mode disarms
    EXPECT_FALSE(timers.armed());
}

TEST_F(LapicTest, WithoutCpuidsLeaveThereIsNoDeadlineMode)
{
    apic.set_features(true, false);
    to_x2apic();
    write(SPIV, 0x1ff);
    write(LVT_TIMER, 0x40042);
    EXPECT_EQ(read(LVT_TIMER), 0x42u);
}

TEST_F(LapicTest, StateComesBackAsItWasSaved)
{
    page(SPIV, 0x1ff);
    page(TPR, 0x20);
    page(LVT_TIMER, 0x44);
    page(TMICT, 1000);
    apic.request(0x99, false);
    spec::kvm::kvm_lapic_state state{};
    apic.get_state(state, false);
    Lapic other(port, clock, timers, 0x13, false);
    ASSERT_TRUE(other.set_state(state, false));
    EXPECT_EQ(other.pending(), 0x99);
    EXPECT_EQ(other.task_priority(), 0x20);
    EXPECT_TRUE(timers.armed());
    spec::kvm::kvm_lapic_state again{};
    other.get_state(again, false);
    EXPECT_EQ(std::memcmp(&state, &again, sizeof state), 0);
}

TEST_F(LapicTest, X2apicStateShowsItsIdInTheAgreedFormat)
{
    to_x2apic();
    spec::kvm::kvm_lapic_state state{};
    const auto id = [&] {
        u32 value;
        std::memcpy(&value, state.regs.data() + ID, sizeof value);
        return value;
    };
    apic.get_state(state, false);
    EXPECT_EQ(id(), 0x13000000u);
    apic.get_state(state, true);
    EXPECT_EQ(id(), 0x13u);
    ASSERT_TRUE(apic.set_state(state, true));
    state.regs[ID] = 0x14;
    EXPECT_FALSE(apic.set_state(state, true)); // another's id
}

TEST_F(LapicTest, InitKeepsModeAndId)
{
    to_x2apic();
    write(SPIV, 0x1ff);
    write(LVT_TIMER, 0x44);
    write(TMICT, 1000);
    apic.request(0x99, false);
    apic.init();
    EXPECT_EQ(read(ID), 0x13u);
    EXPECT_EQ(apic.pending(), -1);
    EXPECT_FALSE(timers.armed());
    EXPECT_FALSE(apic.address().software_enabled);
}

TEST(ApicDestination, MatchesPhysicalAndLogicalIds)
{
    const ApicAddress x2{.hardware_enabled = true, .x2apic = true, .id = 0x123, .ldr = 0x120008};
    const ApicAddress flat{.hardware_enabled = true, .id = 5, .ldr = 0x06000000, .dfr = ~0u};
    const ApicAddress cluster{.hardware_enabled = true, .id = 5, .ldr = 0x23000000, .dfr = 0x0fffffff};
    const auto hits = [](const ApicAddress& a, u32 id, bool logical, bool quirk = false) {
        return kvm_apic_match_dest(a, {.dest_id = id, .logical = logical}, false, quirk);
    };
    EXPECT_TRUE(hits(x2, 0x123, false));
    EXPECT_FALSE(hits(x2, 0x23, false));
    EXPECT_TRUE(hits(x2, 0xffffffff, false));
    EXPECT_FALSE(hits(x2, 0xff, false));
    EXPECT_TRUE(hits(x2, 0xff, false, true)); // KVM's broadcast quirk
    EXPECT_TRUE(hits(x2, 0x12000f, true));
    EXPECT_FALSE(hits(x2, 0x130008, true));
    EXPECT_TRUE(hits(flat, 5, false));
    EXPECT_TRUE(hits(flat, 0xff, false));
    EXPECT_TRUE(hits(flat, 0x02, true));
    EXPECT_FALSE(hits(flat, 0x01, true));
    EXPECT_TRUE(hits(cluster, 0x21, true));
    EXPECT_FALSE(hits(cluster, 0x31, true));
    EXPECT_FALSE(hits(cluster, 0x24, true));
    Irq self{.shorthand = Shorthand::self};
    EXPECT_TRUE(kvm_apic_match_dest(x2, self, true, false));
    EXPECT_FALSE(kvm_apic_match_dest(x2, self, false, false));
    self.shorthand = Shorthand::others;
    EXPECT_FALSE(kvm_apic_match_dest(x2, self, true, false));
}

TEST(ApicDestination, MessagesCarryIdsInTwoFormats)
{
    const Irq old = irq_of_msi(0xfee7f00c, 0x12345600, 0xc1a3, false);
    EXPECT_EQ(old.dest_id, 0x7fu);
    EXPECT_EQ(old.vector, 0xa3);
    EXPECT_EQ(old.mode, DeliveryMode::lowest_priority);
    EXPECT_TRUE(old.logical);
    EXPECT_TRUE(old.redirection_hint);
    EXPECT_TRUE(old.level_triggered);
    EXPECT_EQ(irq_of_msi(0xfee7f000, 0x12345600, 0x30, true).dest_id, 0x1234567fu);
}

} // namespace
} // namespace seamless::kvm
