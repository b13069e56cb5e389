// SPDX-License-Identifier: Apache-2.0
// What is remembered of events, for how long, and by which pages they are found.
#include "platform/event_memory.h"

#include <gtest/gtest.h>

namespace seamless::platform {
namespace {

using trace::Event;
using trace::Record;
using trace::Value;

Record record(Event event, std::initializer_list<Value> values)
{
    Record r{.event = event, .count = static_cast<u8>(values.size())};
    std::copy(values.begin(), values.end(), r.values.begin());
    return r;
}

struct Counting : trace::Sink {
    unsigned& count;
    explicit Counting(unsigned& c) : count(c) {}
    void write(const Record&) override { ++count; }
};

TEST(EventMemory, EventsAreFoundByThePagesTheyAreAbout)
{
    constexpr u64 kShared = bit(47);
    EventMemory memory(nullptr, {});
    memory.write(record(Event::tdx_seamcall, {"TDH.MEM.PAGE.AUG", 0, 0x200001, 0, 0, 0})); // 2 MiB
    memory.write(record(Event::tdx_seamcall, {"TDH.VP.ENTER", 0, 0x200000}));
    memory.write(record(Event::ept_violation, {kShared | 0x201234, 0}));
    memory.write(record(Event::mark_mmio_spte, {0x202, 0}));
    memory.write(record(Event::tdx_tdcall, {"TDG.MEM.PAGE.ACCEPT", 0, 0x201000}));
    memory.write(record(Event::tdx_tdcall, {"TDG.VP.INFO", 0, 0x201000}));
    EXPECT_EQ(memory.recent().size(), 6u);
    EXPECT_EQ(memory.of_page(0x201fff, kShared).size(), 3u);
    EXPECT_EQ(memory.of_page(kShared | 0x202000, kShared).size(), 2u);
    EXPECT_EQ(memory.of_page(0x3ff000, kShared).size(), 1u);
    EXPECT_TRUE(memory.of_page(0x400000, kShared).empty());
    EXPECT_TRUE(memory.of_page(0x1ff000, kShared).empty());
}

TEST(EventMemory, TheOldestIsForgottenFirstAndMemoryLast)
{
    EventMemory memory(nullptr, {});
    memory.write(record(Event::mark_mmio_spte, {7, 0}));
    for (u64 i = 0; i < 5000; ++i)
        memory.write(record(Event::kvm_entry, {i}));
    const auto recent = memory.recent();
    ASSERT_EQ(recent.size(), 4096u);
    EXPECT_EQ(recent.front().values[0].number, 5000u - 4096);
    EXPECT_EQ(recent.back().values[0].number, 4999u);
    EXPECT_EQ(memory.of_page(0x7000, 0).size(), 1u);
}

TEST(EventMemory, ATraceStillGetsTheEventsItWants)
{
    unsigned count = 0;
    std::bitset<64> wanted;
    wanted.set(static_cast<std::size_t>(Event::kvm_exit));
    EventMemory memory(std::make_unique<Counting>(count), wanted);
    memory.write(record(Event::kvm_exit, {"HLT"}));
    memory.write(record(Event::kvm_entry, {1}));
    EXPECT_EQ(count, 1u);
}

} // namespace
} // namespace seamless::platform
