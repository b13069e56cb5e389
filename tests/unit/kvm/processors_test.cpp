// SPDX-License-Identifier: Apache-2.0
// Processors that threads borrow and call each other on. Meant for ThreadSanitizer too: what a call and the
// processor's owner touch is no atomic.
#include <gtest/gtest.h>

#include <array>
#include <thread>
#include <vector>

#include "fakes/scripted_lp.h"
#include "kvm/processors.h"

namespace seamless::kvm {
namespace {

constexpr unsigned kTurns = 2000;

struct ProcessorsTest : testing::Test {
    fakes::ScriptedHost host{2};
    Processors processors{host.package};
    std::array<unsigned, 2> owned{}, called{}; // by processor

    static void in_parallel(unsigned threads, const auto& work)
    {
        std::vector<std::thread> all;
        for (unsigned i = 0; i < threads; ++i)
            all.emplace_back([&work, i] { work(i); });
        for (std::thread& thread : all)
            thread.join();
    }
};

TEST_F(ProcessorsTest, ThisCpuIsTheOneThatIsLoaded)
{
    EXPECT_EQ(processors.this_cpu(), nullptr);
    {
        LoadedLp lp(processors, 1);
        EXPECT_EQ(lp->id(), 1u);
        EXPECT_EQ(processors.this_cpu(), &*lp);
    }
    EXPECT_EQ(processors.this_cpu(), nullptr);
    EXPECT_EQ(LoadedLp(processors, 1)->id(), 1u); // free again
}

TEST_F(ProcessorsTest, ATakenHintGivesAnother)
{
    LoadedLp first(processors, 0);
    std::thread([&] { EXPECT_EQ(LoadedLp(processors, 0)->id(), 1u); }).join();
}

TEST_F(ProcessorsTest, ACallOnAnIdleProcessorRunsHere)
{
    std::thread::id ran_on;
    processors.call_on(1, [&](cpu::LogicalProcessor& lp) {
        EXPECT_EQ(lp.id(), 1u);
        ran_on = std::this_thread::get_id();
    });
    EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(ProcessorsTest, ACallOnALoadedProcessorRunsOnItsThread)
{
    std::thread::id ran_on, owner;
    std::thread caller;
    {
        LoadedLp lp(processors, 0);
        owner = std::this_thread::get_id();
        caller = std::thread([&] {
            processors.call_on(0, [&](cpu::LogicalProcessor&) { ran_on = std::this_thread::get_id(); });
        });
        while (!lp->acknowledge_interrupts())
            std::this_thread::yield();
        processors.serve_calls(*lp);
    }
    caller.join();
    EXPECT_EQ(ran_on, owner);
}

// The owner leaves without having looked: put() serves what came.
TEST_F(ProcessorsTest, NoCallIsLost)
{
    std::array<unsigned, 4> asked{};
    in_parallel(6, [&](unsigned thread) {
        if (thread < 2) {
            for (unsigned i = 0; i < kTurns; ++i) {
                LoadedLp lp(processors, thread);
                ++owned[lp->id()];
            }
            return;
        }
        for (unsigned i = 0; i < kTurns; ++i)
            processors.call_on(i % 2, [&](cpu::LogicalProcessor& lp) {
                ++owned[lp.id()];
                ++called[lp.id()];
            });
        asked[thread - 2] = kTurns;
    });
    EXPECT_EQ(called[0], 4 * kTurns / 2);
    EXPECT_EQ(called[1], 4 * kTurns / 2);
    EXPECT_EQ(owned[0] + owned[1], 6 * kTurns);
}

// More threads than processors: each has one alone, and all come to an end.
TEST_F(ProcessorsTest, WhoFindsNoneFreeWaits)
{
    in_parallel(6, [&](unsigned thread) {
        for (unsigned i = 0; i < kTurns; ++i) {
            LoadedLp lp(processors, thread % 3);
            ++owned[lp->id()];
        }
    });
    EXPECT_EQ(owned[0] + owned[1], 6 * kTurns);
}

} // namespace
} // namespace seamless::kvm
