// SPDX-License-Identifier: Apache-2.0
// Entropy, console and network devices through their transports.
#include "devices/virtio/console.h"
#include "devices/virtio/entropy.h"
#include "devices/virtio/net.h"
#include "unit/devices/virtio/bench.h"

namespace seamless::devices::virtio::test {
namespace {

struct Counting : base::Random {
    u8 next = 1;
    bool empty = false;
    bool fill(std::span<u8> out) override
    {
        for (u8& byte : out)
            byte = next++;
        return !empty;
    }
};

struct Collect : SerialSink {
    std::string text;
    void transmit(u8 byte) override { text += static_cast<char>(byte); }
};

struct Wire : Network {
    std::vector<std::vector<u8>> frames;
    void send(std::span<const u8> frame) override { frames.emplace_back(frame.begin(), frame.end()); }
};

TEST(Entropy, FillsAllPiecesOfABuffer)
{
    Counting random;
    Entropy device(random);
    Bench bench(device);
    bench.start();
    bench.describe(0, {Bench::kData, 3, kWrite | kNext, 1});
    bench.describe(1, {Bench::kData + 0x100, 2, kWrite});
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.used_length(0), 5u);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 2), 3);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0x101), 5);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0x102), 0);
}

TEST(Entropy, GivesLessThanWasAskedForAndNothingWhenThereIsNone)
{
    Counting random;
    Entropy device(random);
    Bench bench(device);
    bench.start();
    bench.describe(0, {Bench::kData, 0x8000, kWrite});
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.used_length(0), Entropy::kMost);
    random.empty = true;
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.used_length(1), 0u);
    EXPECT_FALSE(bench.broken());
}

TEST(Console, SendsAndReceives)
{
    Collect sink;
    Console device(sink);
    Bench bench(device);
    bench.start(0, 2);
    std::memcpy(bench.ram.map(Bench::kData, 5), "hello", 5);
    bench.describe(0, {Bench::kData, 2, kNext, 1}, Console::kTransmit);
    bench.describe(1, {Bench::kData + 2, 3}, Console::kTransmit);
    bench.make_available(0, Console::kTransmit);
    bench.kick(Console::kTransmit);
    EXPECT_EQ(sink.text, "hello");
    EXPECT_EQ(bench.used(Console::kTransmit), 1);

    const u8 input[] = {'a', 'b', 'c', 'd', 'e'};
    EXPECT_EQ(device.receive(input), 0u); // no buffers
    bench.describe(0, {Bench::kData + 0x100, 3, kWrite}, Console::kReceive);
    bench.make_available(0, Console::kReceive);
    EXPECT_EQ(device.receive(input), 3u);
    EXPECT_EQ(bench.used_length(0, Console::kReceive), 3u);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0x102), 'c');
}

TEST(Console, InputBeforeTheDriverIsReadyStaysWithTheSender)
{
    Collect sink;
    Console device(sink);
    Bench bench(device);
    const u8 input[] = {'a'};
    EXPECT_EQ(device.receive(input), 0u);
}

TEST(Console, OutputOfABufferIsBounded)
{
    Collect sink;
    Console device(sink);
    Bench bench(device);
    bench.start(0, 2);
    bench.describe(0, {Ram::kBase, 0x18000}, Console::kTransmit);
    bench.make_available(0, Console::kTransmit);
    bench.kick(Console::kTransmit);
    EXPECT_EQ(sink.text.size(), Console::kMost);
}

struct NetTest : testing::Test {
    Wire wire;
    Net device{wire, {2, 3, 4, 5, 6, 7}};
    Bench bench{device};

    void send(u32 header, u32 frame)
    {
        bench.describe(0, {Bench::kData, header, kNext, 1}, Net::kTransmit);
        bench.describe(1, {Bench::kData + 0x100, frame}, Net::kTransmit);
        bench.make_available(0, Net::kTransmit);
        bench.kick(Net::kTransmit);
    }
};

TEST_F(NetTest, DescribesItself)
{
    EXPECT_EQ(bench.read(Register::DeviceID), 1u);
    EXPECT_EQ(bench.read(static_cast<Register>(0x100)), 0x05040302u);
    u8 data[2];
    bench.transport.read(0x106, data);
    EXPECT_EQ(data[0], 1); // the link is up
    bench.transport.read(0x10a, data);
    EXPECT_EQ(data[0] | data[1] << 8, 1500);
}

TEST_F(NetTest, SendsFramesWithoutTheirHeader)
{
    bench.start(0, 2);
    bench.ram.put<u32>(Bench::kData + 0x100, 0xddccbbaa);
    send(12, 4);
    ASSERT_EQ(wire.frames.size(), 1u);
    EXPECT_EQ(wire.frames[0], (std::vector<u8>{0xaa, 0xbb, 0xcc, 0xdd}));
    send(10, 4); // two bytes of the rest belong to the header
    ASSERT_EQ(wire.frames.size(), 2u);
    EXPECT_EQ(wire.frames[1].size(), 2u);
}

TEST_F(NetTest, LosesWhatIsNoFrame)
{
    bench.start(0, 2);
    send(11, 1); // a header, no frame
    send(3, 4);  // not even a header
    send(12, 65537);
    EXPECT_TRUE(wire.frames.empty());
    EXPECT_EQ(bench.used(Net::kTransmit), 3);
    EXPECT_FALSE(bench.broken());
}

TEST_F(NetTest, ReceivesIntoTheDriversBuffers)
{
    const u8 frame[] = {1, 2, 3};
    EXPECT_FALSE(device.receive(frame));
    bench.start(0, 2);
    EXPECT_FALSE(device.receive(frame));
    std::memset(bench.ram.map(Bench::kData, 0x40), 0xee, 0x40);
    bench.describe(0, {Bench::kData, 10, kWrite | kNext, 1}, Net::kReceive);
    bench.describe(1, {Bench::kData + 0x20, 0x20, kWrite}, Net::kReceive);
    bench.make_available(0, Net::kReceive);
    EXPECT_TRUE(device.receive(frame));
    EXPECT_EQ(bench.used_length(0, Net::kReceive), 15u);
    EXPECT_EQ(bench.ram.get<u64>(Bench::kData), 0u);
    EXPECT_EQ(bench.ram.get<u16>(Bench::kData + 0x20), 1); // the frame is in one buffer
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0x24), 3);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 0x25), 0xee);
}

TEST_F(NetTest, FramesThatDoNotFitAreCut)
{
    bench.start(0, 2);
    const std::vector<u8> frame(100, u8{9});
    bench.describe(0, {Bench::kData, 50, kWrite}, Net::kReceive);
    bench.make_available(0, Net::kReceive);
    EXPECT_TRUE(device.receive(frame));
    EXPECT_EQ(bench.used_length(0, Net::kReceive), 50u);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 49), 9);
    EXPECT_EQ(bench.ram.get<u8>(Bench::kData + 50), 0);
}

} // namespace
} // namespace seamless::devices::virtio::test
