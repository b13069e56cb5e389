// SPDX-License-Identifier: Apache-2.0
// The watch over vCPUs that get nowhere, on scripted processors.
#include <gtest/gtest.h>

#include "fakes/scripted_lp.h"
#include "platform/stall_watch.h"

namespace seamless::platform {
namespace {

using spec::ExitReason;

struct Watch : testing::Test {
    fakes::ScriptedHost host;
    StallWatch watch;
    fakes::ScriptedLp* inner = nullptr;
    std::unique_ptr<cpu::LogicalProcessor> lp;
    cpu::Vmcs vmcs;
    cpu::GuestContext context;

    Watch()
    {
        auto factory = watch.watch([this](cpu::Package& package, unsigned id) {
            auto made = std::make_unique<fakes::ScriptedLp>(package, id);
            inner = made.get();
            return made;
        });
        lp = factory(host.package, 3);
        lp->trace = {&host.tracer, 7};
        vmcs.rip = 0x1000;
    }

    void enter(ExitReason reason, u64 gpa, const std::function<void()>& guest = {})
    {
        inner->then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            if (guest)
                guest();
            v.exit_reason = static_cast<u32>(reason);
            v.guest_physical_address = gpa;
        });
        lp->vm_enter(vmcs, context);
    }
    u64 count() { return watch.stall(7).fruitless_entries; }
};

TEST_F(Watch, SameFaultWithoutProgressIsCounted)
{
    for (int i = 0; i < 100; ++i)
        enter(ExitReason::EPT_VIOLATION, 0x5000);
    const StallWatch::Stall stall = watch.stall(7);
    EXPECT_EQ(stall.fruitless_entries, 99u);
    EXPECT_EQ(stall.rip, 0x1000u);
    EXPECT_EQ(stall.gpa, 0x5000u);
    EXPECT_EQ(stall.exit_reason, 48u);
    EXPECT_EQ(watch.stall(6).fruitless_entries, 0u);
}

TEST_F(Watch, InterruptsBetweenDoNotHideAStall)
{
    for (int i = 0; i < 10; ++i) {
        enter(ExitReason::EPT_VIOLATION, 0x5000);
        enter(ExitReason::EXTERNAL_INTERRUPT, 0);
    }
    EXPECT_EQ(count(), 9u);
}

TEST_F(Watch, EveryKindOfProgressResetsTheCount)
{
    const std::function<void()> progress[] = {[this] { vmcs.rip += 2; },
                                              [this] { context[spec::Gpr::rcx] += 1; },
                                              [this] { vmcs.rsp -= 8; }, [this] { vmcs.rflags ^= 1; }};
    for (const auto& step : progress) {
        for (int i = 0; i < 5; ++i)
            enter(ExitReason::EPT_VIOLATION, 0x5000);
        EXPECT_GE(count(), 4u);
        enter(ExitReason::EPT_VIOLATION, 0x5000, step);
        EXPECT_EQ(count(), 0u);
    }
    for (int i = 0; i < 5; ++i)
        enter(ExitReason::EPT_VIOLATION, 0x5000);
    enter(ExitReason::EPT_VIOLATION, 0x6000);
    EXPECT_EQ(count(), 0u);
    enter(ExitReason::EPT_VIOLATION, 0x6000);
    enter(ExitReason::CPUID, 0);
    EXPECT_EQ(count(), 0u);
}

TEST_F(Watch, GuestThatKvmMovesByEmulationIsNoStall)
{
    for (int i = 0; i < 20; ++i) {
        enter(ExitReason::EPT_MISCONFIG, 0x5000);
        context[spec::Gpr::rcx] -= 1; // a REP instruction, emulated one step at a time
    }
    EXPECT_EQ(count(), 0u);
}

TEST_F(Watch, EverythingElseReachesTheProcessorBehind)
{
    lp->invept_single(0x77);
    lp->invvpid(5);
    lp->invept_all();
    lp->send_interrupt(0xf2);
    EXPECT_EQ(inner->invept, std::vector<u64>{0x77});
    EXPECT_EQ(inner->invvpids, std::vector<u16>{5});
    EXPECT_EQ(inner->invept_alls, 1u);
    EXPECT_EQ(inner->interrupts(), std::vector<u8>{0xf2});
    EXPECT_TRUE(lp->acknowledge_interrupts());
    EXPECT_EQ(lp->id(), 3u);
    enter(ExitReason::CPUID, 0);
    EXPECT_EQ(inner->trace.vcpu, 7u);
    EXPECT_EQ(lp->counters().vm_exits, 1u);
}

} // namespace
} // namespace seamless::platform
