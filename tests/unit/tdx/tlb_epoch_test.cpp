// SPDX-License-Identifier: Apache-2.0
// TLB tracking on the processor that runs guests: a TD really goes on using a translation that the host has
// blocked, until it has left in the old epoch; then it is gone. TDX ABI: "TLB Tracking".
#include <chrono>
#include <thread>

#include "cpu/processor.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
constexpr u64 kReset = 0xfffff000; // the page of the first instruction
constexpr u64 kCounter = kGpa + 0x1000;

// In 32-bit code without paging: reads kGpa and counts at kCounter, for ever.
constexpr u8 kLoop[] = {
    0xa1, 0x00, 0x00, 0x00, 0x01,       // mov eax, [kGpa]
    0xff, 0x05, 0x00, 0x10, 0x00, 0x01, // inc dword [kCounter]
    0xeb, 0xf3,                         // from the start
};
constexpr u8 kJump[] = {0xeb, 0xee}; // at 0xff0, back to 0xfe0

struct TlbEpoch : testing::TestWithParam<cpu::EngineMode>, TdHost {
    TlbEpoch() : TdHost(key(), 2, cpu::make_processor(GetParam())) {}

    void SetUp() override
    {
        bring_up();
        create_td();
        ASSERT_EQ(init_td(default_params()), SUCCESS);
        vcpu = create_vcpu();
        sept_tables(kGpa);
        for (const unsigned level : {2u, 1u})
            ASSERT_EQ(sept_add(kReset & ~(spec::ept::level_size(level) - 1), level), SUCCESS);
        const Hpa code_page = page(), source = page();
        std::memcpy(mem::host_ptr<u8>(source) + 0xfe0, kLoop, sizeof(kLoop));
        std::memcpy(mem::host_ptr<u8>(source) + 0xff0, kJump, sizeof(kJump));
        ASSERT_EQ(page_add(kReset, code_page, source), SUCCESS);
        ram = page(), counter = page();
        ASSERT_EQ(page_add(kGpa, ram, page()), SUCCESS);
        ASSERT_EQ(page_add(kCounter, counter, page()), SUCCESS);
        ASSERT_EQ(finalize(), SUCCESS);
    }
    // From the second processor, while the vCPU may run on the first.
    TdxStatus elsewhere(TdhLeaf leaf, u64 rcx, u64 rdx = 0)
    {
        cpu::SeamRegs regs{.rax = spec::leaf_rax(leaf), .rcx = rcx, .rdx = rdx};
        EXPECT_TRUE(module.seamcall(package.lp(1), regs));
        return static_cast<TdxStatus>(regs.rax);
    }
    u64 run()
    {
        cpu::SeamRegs regs{.rax = spec::leaf_rax(TdhLeaf::VP_ENTER), .rcx = vcpu.value()};
        EXPECT_TRUE(module.seamcall(package.lp(0), regs));
        gpa = regs.r8;
        return regs.rax;
    }
    // A run that should end by itself; an interrupt ends it where it does not.
    u64 run_or_interrupt()
    {
        std::atomic<bool> done = false;
        std::thread watch([&] {
            for (int i = 0; i < 500 && !done; ++i)
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            if (!done)
                package.lp(0).send_interrupt(0xec);
        });
        const u64 reason = run();
        done = true;
        watch.join();
        return reason;
    }
    // Whether the guest makes some more rounds soon.
    bool goes_on()
    {
        const u32 goal = mem::load<u32>(counter) + 100;
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (mem::load<u32>(counter) < goal && std::chrono::steady_clock::now() < limit)
            std::this_thread::yield();
        return mem::load<u32>(counter) >= goal;
    }

    Hpa counter;
    u64 gpa = 0;
};
INSTANTIATE_TEST_SUITE_P(Modes, TlbEpoch, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(TlbEpoch, AStaleTranslationLivesUntilTheTdHasLeft)
{
    u64 first = 0;
    std::thread guest([&] { first = run(); });
    EXPECT_TRUE(goes_on());
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_RANGE_BLOCK, kGpa, tdr.value()), SUCCESS);
    EXPECT_TRUE(goes_on()) << "what it has cached it may use";
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_PAGE_REMOVE, kGpa, tdr.value()),
              TLB_TRACKING_NOT_DONE | TdxOperand::RCX);
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_TRACK, tdr.value()), SUCCESS);
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_TRACK, tdr.value()), PREVIOUS_TLB_EPOCH_BUSY);
    EXPECT_TRUE(goes_on()) << "a new epoch alone flushes nothing";
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_PAGE_REMOVE, kGpa, tdr.value()), TLB_TRACKING_NOT_DONE | TdxOperand::RCX)
        << "the vCPU is still in the old one";
    package.lp(0).send_interrupt(0xec);
    guest.join();
    EXPECT_EQ(first & 0xffff, 1u);
    (void)package.lp(0).acknowledge_interrupts();
    EXPECT_EQ(run_or_interrupt(), 48u) << "entered in the new epoch, the TD finds the entry blocked";
    EXPECT_EQ(gpa, kGpa);
    EXPECT_EQ(elsewhere(TdhLeaf::MEM_PAGE_REMOVE, kGpa, tdr.value()), SUCCESS);
}

TEST_P(TlbEpoch, WithoutATrackTheTranslationSurvivesTheExit)
{
    u64 reasons[2] = {};
    for (u64& reason : reasons) {
        std::thread guest([&] { reason = run(); });
        EXPECT_TRUE(goes_on());
        if (&reason == &reasons[0]) {
            EXPECT_EQ(elsewhere(TdhLeaf::MEM_RANGE_BLOCK, kGpa, tdr.value()), SUCCESS);
        }
        package.lp(0).send_interrupt(0xec);
        guest.join();
        (void)package.lp(0).acknowledge_interrupts();
        EXPECT_EQ(reason & 0xffff, 1u) << "the same epoch: nothing had to be flushed";
    }
    ASSERT_EQ(elsewhere(TdhLeaf::MEM_TRACK, tdr.value()), SUCCESS);
    EXPECT_EQ(run_or_interrupt(), 48u);
}

} // namespace
} // namespace seamless::tdx
