// SPDX-License-Identifier: Apache-2.0
// The registers of a virtio-mmio transport: identity, negotiation, queues, interrupts, reset.
#include "unit/devices/virtio/bench.h"

namespace seamless::devices::virtio::test {
namespace {

struct TransportTest : testing::Test {
    Echo echo;
    Bench bench{echo};

    void send(u16 head = 0)
    {
        bench.describe(head, {Bench::kData, 4, kNext, static_cast<u16>(head + 1)});
        bench.describe(static_cast<u16>(head + 1), {Bench::kData + 0x100, 16, kWrite});
        bench.make_available(head);
        bench.kick();
    }
};

TEST_F(TransportTest, ShowsItsIdentityAndOnlyInWholeRegisters)
{
    EXPECT_EQ(bench.read(Register::MagicValue), 0x74726976u);
    EXPECT_EQ(bench.read(Register::Version), 2u);
    EXPECT_EQ(bench.read(Register::DeviceID), 4u);
    u8 data[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    bench.transport.read(0, std::span(data, 2));
    EXPECT_EQ(data[0], 0);
    bench.transport.read(1, std::span(data, 4));
    EXPECT_EQ(data[2], 0);
    EXPECT_EQ(bench.read(static_cast<Register>(0x18)), 0u); // no such register
    EXPECT_EQ(bench.read(Register::SHMLenLow), ~0u);
}

TEST_F(TransportTest, EmptyPlaceHasNoDevice)
{
    Transport empty;
    u8 data[4];
    empty.read(0, data);
    EXPECT_EQ(data[0], 'v');
    empty.read(8, data);
    EXPECT_EQ(data[0], 0);
    const u8 one[] = {1, 0, 0, 0};
    for (u64 offset = 0; offset < Transport::kSize; offset += 4)
        empty.write(offset, one);
    empty.read(0x70, data);
    EXPECT_EQ(data[0], 0);
}

TEST_F(TransportTest, ConfigurationIsReadInAnyWidthAndEndsInZeros)
{
    u8 data[4];
    bench.transport.read(0x102, std::span(data, 2));
    EXPECT_EQ(data[0], 3);
    EXPECT_EQ(data[1], 4);
    bench.transport.read(0x104, data);
    EXPECT_EQ(data[1], 6);
    EXPECT_EQ(data[2], 0);
    bench.transport.read(0x1fc, data);
    EXPECT_EQ(data[0], 0);
}

TEST_F(TransportTest, OffersTheDevicesFeaturesAndItsOwn)
{
    EXPECT_EQ(bench.offered(), bit(3) | bit(28) | bit(29) | bit(32) | bit(33));
    bench.write(Register::DeviceFeaturesSel, 2);
    EXPECT_EQ(bench.read(Register::DeviceFeatures), 0u);
}

TEST_F(TransportTest, RefusesFeaturesItDoesNotOfferAndDriversOfTheOldVersion)
{
    EXPECT_FALSE(bench.negotiate(0));
    bench.write(Register::Status, 0);
    EXPECT_FALSE(bench.negotiate(feature::VERSION_1 | bit(40)));
    bench.write(Register::Status, 0);
    EXPECT_TRUE(bench.negotiate(feature::VERSION_1 | bit(3)));
    bench.accept(feature::VERSION_1); // too late
    bench.add_status(status::DRIVER_OK);
    EXPECT_EQ(echo.started_with, feature::VERSION_1 | bit(3));
}

TEST_F(TransportTest, DriverIsNotReadyWithoutFeatures)
{
    bench.write(Register::Status, status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK);
    EXPECT_EQ(bench.status(), status::ACKNOWLEDGE | status::DRIVER);
}

TEST(Transport, TdNeedsThePlatformsDma)
{
    Echo echo;
    Bench bench(echo, true);
    EXPECT_FALSE(bench.negotiate(feature::VERSION_1));
    bench.write(Register::Status, 0);
    EXPECT_TRUE(bench.negotiate(feature::VERSION_1 | feature::ACCESS_PLATFORM));
}

TEST_F(TransportTest, CarriesABufferAndInterruptsOnce)
{
    bench.start();
    bench.ram.put<u32>(Bench::kData, 0x44332211);
    send();
    EXPECT_EQ(echo.got, (std::vector<u8>{0x11, 0x22, 0x33, 0x44}));
    EXPECT_EQ(bench.ram.get<u32>(Bench::kData + 0x100), 0x44332211u);
    EXPECT_EQ(bench.used(), 1);
    EXPECT_EQ(bench.used_length(0), 4u);
    EXPECT_EQ(bench.read(Register::InterruptStatus), 1u);
    EXPECT_EQ(bench.line.edges, 1u);
    send(2);
    EXPECT_EQ(bench.line.edges, 1u); // the first is not acknowledged yet
    bench.write(Register::InterruptACK, 1);
    EXPECT_FALSE(bench.line.level);
    EXPECT_EQ(bench.read(Register::InterruptStatus), 0u);
    send(4);
    EXPECT_EQ(bench.line.edges, 2u);
}

TEST_F(TransportTest, WhatIsLeftAfterAnAcknowledgementInterruptsAgain)
{
    bench.start();
    send();
    bench.make_available(1000); // no such descriptor
    bench.kick();
    EXPECT_EQ(bench.read(Register::InterruptStatus), 3u);
    EXPECT_EQ(bench.line.edges, 1u);
    bench.write(Register::InterruptACK, 1);
    EXPECT_EQ(bench.read(Register::InterruptStatus), 2u);
    EXPECT_EQ(bench.line.edges, 2u);
}

TEST_F(TransportTest, NothingMovesBeforeTheDriverIsReady)
{
    ASSERT_TRUE(bench.negotiate(feature::VERSION_1));
    bench.set_queue(0, 8, Bench::descriptors(0), Bench::driver(0), Bench::device(0));
    EXPECT_EQ(bench.read(Register::QueueReady), 1u);
    send();
    EXPECT_EQ(bench.used(), 0);
    bench.add_status(status::DRIVER_OK); // what was made available meanwhile counts now
    EXPECT_EQ(bench.used(), 1);
    bench.kick(7); // no such queue
    bench.kick(1); // never enabled
    EXPECT_FALSE(bench.broken());
}

TEST_F(TransportTest, QueuesCanBeLookedAtAndKeepTheirLayoutWhileInUse)
{
    bench.start();
    bench.write(Register::QueueSel, 0);
    EXPECT_EQ(bench.read(Register::QueueSizeMax), 256u);
    bench.write(Register::QueueDescLow, 0);
    bench.write(Register::QueueSize, 1);
    send();
    EXPECT_EQ(bench.used(), 1);
    bench.write(Register::QueueSel, 2);
    EXPECT_EQ(bench.read(Register::QueueSizeMax), 0u);
    EXPECT_EQ(bench.read(Register::QueueReady), 0u);
    bench.write(Register::QueueReady, 1);
    EXPECT_FALSE(bench.broken());
}

TEST_F(TransportTest, QueuesWithoutMemoryNeedAReset)
{
    const struct {
        u32 size;
        u64 descriptors, driver, device;
    } bad[] = {
        {0, Bench::rings(0), Bench::driver(0), Bench::device(0)},
        {3, Bench::rings(0), Bench::driver(0), Bench::device(0)},
        {512, Bench::rings(0), Bench::driver(0), Bench::device(0)},
        {8, Bench::rings(0) + 8, Bench::driver(0), Bench::device(0)},
        {8, Bench::rings(0), Bench::driver(0) + 1, Bench::device(0)},
        {8, Bench::rings(0), Bench::driver(0), Bench::device(0) + 2},
        {8, 0x10, Bench::driver(0), Bench::device(0)},
        {8, Bench::rings(0), Ram::kBase + Ram::kSize - 4, Bench::device(0)},
        {8, Bench::rings(0), Bench::driver(0), ~u64{3}},
    };
    for (const auto& b : bad) {
        bench.write(Register::Status, 0);
        ASSERT_TRUE(bench.negotiate(feature::VERSION_1));
        bench.set_queue(0, b.size, b.descriptors, b.driver, b.device);
        EXPECT_TRUE(bench.broken());
        EXPECT_EQ(bench.read(Register::QueueReady), 0u);
        bench.add_status(status::DRIVER_OK);
        bench.kick();
        EXPECT_EQ(bench.line.edges, 0u);
    }
}

TEST_F(TransportTest, ResetForgetsEverythingAfterTheWorkIsDone)
{
    bench.start(bit(3));
    send();
    EXPECT_TRUE(bench.line.level);
    bench.write(Register::Status, 0);
    EXPECT_EQ(bench.status(), 0);
    EXPECT_EQ(bench.read(Register::InterruptStatus), 0u);
    EXPECT_FALSE(bench.line.level);
    EXPECT_EQ(bench.worker.quiesced, 1u);
    EXPECT_EQ(echo.stopped, 1u);
    bench.write(Register::QueueSel, 0);
    EXPECT_EQ(bench.read(Register::QueueReady), 0u);
    bench.kick();
    bench.available[0] = 0;
    std::memset(bench.ram.bytes, 0, 0x2000);
    bench.start();
    send();
    EXPECT_EQ(bench.used(), 1);
}

} // namespace
} // namespace seamless::devices::virtio::test
