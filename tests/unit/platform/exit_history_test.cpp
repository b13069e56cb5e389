// SPDX-License-Identifier: Apache-2.0
// The last VM exits of a vCPU: how many, in which order, and that a guest's letters do not push out the rest.
#include "platform/exit_history.h"

#include <gtest/gtest.h>

namespace seamless::platform {
namespace {

using spec::ExitReason;
using spec::Gpr;
using trace::Crossing;

struct History : testing::Test {
    ExitHistory history;
    cpu::Vmcs vmcs;
    cpu::GuestContext context;

    void exit(ExitReason reason)
    {
        history.entering(vmcs, context);
        vmcs.exit_reason = static_cast<u32>(reason);
        ++vmcs.rip;
        history.left(vmcs, context);
    }
    std::vector<u64> numbers()
    {
        std::vector<u64> list;
        for (const Crossing& c : history.crossings())
            list.push_back(c.number);
        return list;
    }
};

TEST_F(History, ExitsAndHowTheGuestWentOn)
{
    EXPECT_TRUE(history.crossings().empty());
    EXPECT_EQ(history.vmcs(), nullptr);
    context[Gpr::rcx] = 0x10;
    exit(ExitReason::MSR_READ);
    EXPECT_FALSE(history.crossings()[0].resumed);
    context[Gpr::rcx] = 0x11;
    vmcs.entry_intr_info = 0x80000b0d;
    exit(ExitReason::CPUID);
    const auto list = history.crossings();
    ASSERT_EQ(list.size(), 2u);
    EXPECT_TRUE(list[0].resumed);
    EXPECT_EQ(list[0].at_exit(Gpr::rcx), 0x10u);
    EXPECT_EQ(list[0].at_entry(Gpr::rcx), 0x11u);
    EXPECT_EQ(list[0].injected, 0x80000b0du);
    EXPECT_FALSE(list[1].resumed);
    EXPECT_EQ(history.vmcs(), &vmcs);
}

TEST_F(History, TheLastOnesAreKeptInOrder)
{
    for (unsigned i = 0; i < 1000; ++i)
        exit(ExitReason::CPUID);
    const auto list = numbers();
    ASSERT_EQ(list.size(), ExitHistory::kKept);
    for (std::size_t i = 0; i < list.size(); ++i)
        EXPECT_EQ(list[i], 1000 - ExitHistory::kKept + 1 + i);
}

TEST_F(History, RowsOfPortAccessesTurnInAFewPlaces)
{
    for (unsigned i = 0; i < 5; ++i)
        exit(ExitReason::CPUID);
    for (unsigned i = 0; i < 1000; ++i)
        exit(ExitReason::IO_INSTRUCTION);
    exit(ExitReason::HLT);
    exit(ExitReason::HLT);
    const auto list = numbers();
    ASSERT_EQ(list.size(), 5 + ExitHistory::kPortsKept + 1);
    EXPECT_EQ(list[4], 5u);
    EXPECT_EQ(list[5], 1005 - ExitHistory::kPortsKept + 2)
        << "the first HLT has taken the place of the oldest";
    EXPECT_EQ(list.back(), 1007u);
}

TEST_F(History, ShortRowsLoseNothing)
{
    for (unsigned i = 0; i < 1000; ++i)
        exit(i % 8 < 7 ? ExitReason::IO_INSTRUCTION : ExitReason::CPUID);
    const auto list = numbers();
    ASSERT_EQ(list.size(), ExitHistory::kKept);
    EXPECT_EQ(list.back() - list.front() + 1, ExitHistory::kKept);
}

TEST_F(History, ATdsPortAccessIsThreeCrossings)
{
    exit(ExitReason::CPUID);
    for (unsigned i = 0; i < 100; ++i) {
        exit(ExitReason::IO_INSTRUCTION);
        context[Gpr::rax] = static_cast<u64>(3); // TDG.VP.VEINFO.GET
        exit(ExitReason::TDCALL);
        context[Gpr::rcx] = static_cast<u64>(ExitReason::IO_INSTRUCTION);
        context[Gpr::rax] = 0;
        history.entering(vmcs, context);
        context[Gpr::r10] = 0;
        context[Gpr::r11] = static_cast<u64>(ExitReason::IO_INSTRUCTION);
        vmcs.exit_reason = static_cast<u32>(ExitReason::TDCALL);
        history.left(vmcs, context);
    }
    EXPECT_EQ(numbers().front(), 1u);
}

} // namespace
} // namespace seamless::platform
