// SPDX-License-Identifier: Apache-2.0
// Split virtqueues: good chains, wishes about notification, and rings that make no sense.
#include "unit/devices/virtio/bench.h"

namespace seamless::devices::virtio::test {
namespace {

struct QueueTest : testing::Test {
    Echo echo;
    Bench bench{echo};

    void go(u16 head = 0)
    {
        bench.make_available(head);
        bench.kick();
    }
};

TEST_F(QueueTest, FollowsChainsAndIndirectTables)
{
    bench.start(feature::RING_INDIRECT_DESC);
    bench.ram.put<u32>(Bench::kData, 0x04030201);
    bench.ram.put<u32>(Bench::kData + 0x800, 0x08070605);
    bench.describe(5, {Bench::kData, 4, kNext, 2});
    bench.describe(2, {Bench::kData + 0x800, 2, kNext, 7});
    bench.describe(7, {Bench::kData + 0x900, 5, kWrite | kNext, 1});
    bench.describe(1, {Bench::kData + 0xa00, 5, kWrite});
    go(5);
    EXPECT_EQ(echo.got, (std::vector<u8>{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(bench.used_length(0), 6u);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0xa00), 6);

    const u64 table = Bench::kData + 0x1001; // tables need no alignment
    bench.ram.put(table, Desc{Bench::kData, 3, kNext, 1});
    bench.ram.put(table + 16, Desc{Bench::kData + 0xb00, 8, kWrite});
    bench.describe(0, {table, 32, kIndirect});
    go(0);
    EXPECT_EQ(echo.got, (std::vector<u8>{1, 2, 3}));
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0xb02), 3);
    EXPECT_FALSE(bench.broken());
}

TEST_F(QueueTest, IndicesWrapAround)
{
    bench.start();
    bench.describe(0, {Bench::kData, 1, kWrite});
    for (unsigned i = 0; i < 70000; ++i)
        go();
    EXPECT_EQ(bench.used(), static_cast<u16>(70000));
    EXPECT_FALSE(bench.broken());
}

TEST_F(QueueTest, ReachesTheEndOfMemoryAndNoFurther)
{
    bench.start();
    bench.describe(0, {Ram::kBase + Ram::kSize - 4, 4});
    go();
    EXPECT_EQ(echo.got.size(), 4u);
    bench.describe(0, {Ram::kBase + Ram::kSize - 4, 5});
    go();
    EXPECT_TRUE(bench.broken());
}

TEST_F(QueueTest, DriversThatWantNoInterruptGetNone)
{
    bench.start();
    bench.ram.put<u16>(Bench::driver(0), ring::AVAIL_NO_INTERRUPT);
    bench.describe(0, {Bench::kData, 1, kWrite});
    go();
    EXPECT_EQ(bench.used(), 1);
    EXPECT_EQ(bench.line.edges, 0u);
}

TEST_F(QueueTest, EventIndexSaysWhenToInterruptAndToKick)
{
    bench.start(feature::RING_EVENT_IDX);
    const u64 used_event = Bench::driver(0) + 4 + 2 * Bench::kSize;
    const u64 available_event = Bench::device(0) + 4 + 8 * Bench::kSize;
    bench.describe(0, {Bench::kData, 1, kWrite});
    bench.ram.put<u16>(used_event, 2);
    go();
    go();
    EXPECT_EQ(bench.line.edges, 0u);
    EXPECT_EQ(bench.ram.get<u16>(available_event), 2);
    go();
    EXPECT_EQ(bench.line.edges, 1u);
    bench.write(Register::InterruptACK, 1);
    go();
    EXPECT_EQ(bench.line.edges, 1u);
    EXPECT_EQ(bench.ram.get<u16>(available_event), 4);
}

// Each would lead a careless device astray; each must end in a device that needs a reset and touches nothing.
TEST_F(QueueTest, RingsThatMakeNoSenseNeedAReset)
{
    const u64 table = Bench::kData + 0x1000;
    const struct {
        const char* what;
        Desc first, second;
    } bad[] = {
        {"outside memory", {0, 4}, {}},
        {"end beyond memory", {Ram::kBase + Ram::kSize - 1, 2}, {}},
        {"end beyond all addresses", {~u64{0} - 1, 4}, {}},
        {"longest length", {Bench::kData, ~u32{0}}, {}},
        {"next outside the table", {Bench::kData, 4, kNext, 8}, {}},
        {"next far outside", {Bench::kData, 4, kNext, 0xffff}, {}},
        {"loop", {Bench::kData, 4, kNext, 0}, {}},
        {"longer loop", {Bench::kData, 4, kNext, 1}, {Bench::kData, 4, kNext, 0}},
        {"to read after to write", {Bench::kData, 4, kWrite | kNext, 1}, {Bench::kData, 4}},
        {"indirect and next", {table, 16, kIndirect | kNext, 1}, {Bench::kData, 4}},
        {"indirect of odd size", {table, 17, kIndirect}, {}},
        {"empty indirect", {table, 0, kIndirect}, {}},
        {"indirect outside memory", {~u64{0} - 15, 16, kIndirect}, {}},
        {"indirect that is too large", {table, 0xfffffff0, kIndirect}, {}},
        {"indirect in indirect", {table, 32, kIndirect}, {}},
    };
    for (const auto& b : bad) {
        SCOPED_TRACE(b.what);
        bench.write(Register::Status, 0);
        std::memset(bench.ram.bytes, 0, 0x2000);
        bench.available[0] = 0;
        bench.start();
        bench.ram.put(table, Desc{table, 16, kIndirect});
        bench.describe(0, b.first);
        bench.describe(1, b.second);
        go();
        EXPECT_TRUE(bench.broken());
        EXPECT_EQ(bench.used(), 0);
        EXPECT_EQ(bench.read(Register::InterruptStatus), interrupt::CONFIG_CHANGE);
        bench.describe(0, {Bench::kData, 4});
        go(); // a device that needs a reset does nothing
        EXPECT_EQ(bench.used(), 0);
    }
}

TEST_F(QueueTest, IndirectLoopsEnd)
{
    bench.start();
    const u64 table = Bench::kData + 0x1000;
    bench.ram.put(table, Desc{Bench::kData, 4, kNext, 1});
    bench.ram.put(table + 16, Desc{Bench::kData, 4, kNext, 0});
    bench.describe(0, {table, 32, kIndirect});
    go();
    EXPECT_TRUE(bench.broken());
}

TEST_F(QueueTest, HeadsAndIndicesAreChecked)
{
    bench.start();
    bench.describe(0, {Bench::kData, 4});
    go(8);
    EXPECT_TRUE(bench.broken());
    bench.write(Register::Status, 0);
    bench.start();
    bench.ram.put<u16>(Bench::driver(0) + 2, 9); // more than fit
    bench.kick();
    EXPECT_TRUE(bench.broken());
    EXPECT_EQ(bench.used(), 0);
}

} // namespace
} // namespace seamless::devices::virtio::test
