// SPDX-License-Identifier: Apache-2.0
// The bus: dispatch by range, unclaimed accesses, refused ranges.
#include <array>
#include <gtest/gtest.h>

#include "devices/bus.h"
#include "devices/testdev.h"

namespace seamless::devices {
namespace {

using Bytes = std::vector<u8>;

struct Recorder : BusDevice {
    struct Access {
        bool write;
        u64 offset;
        Bytes data;
    };
    std::vector<Access> history;

    void read(u64 offset, std::span<u8> data) override
    {
        std::fill(data.begin(), data.end(), u8{0x5a});
        history.push_back({false, offset, Bytes(data.begin(), data.end())});
    }
    void write(u64 offset, std::span<const u8> data) override
    {
        history.push_back({true, offset, Bytes(data.begin(), data.end())});
    }
};

TEST(Bus, AccessReachesTheDeviceWithTheOffsetInItsRange)
{
    Recorder low, high;
    Bus bus;
    ASSERT_TRUE(bus.add("high", 0x2000, 0x10, high).ok());
    ASSERT_TRUE(bus.add("low", 0x1000, 0x10, low).ok());
    EXPECT_TRUE(bus.write(0x2004, Bytes{1, 2}));
    Bytes data(4);
    EXPECT_TRUE(bus.read(0x100c, data));
    EXPECT_EQ(data, Bytes(4, 0x5a));
    ASSERT_EQ(high.history.size(), 1u);
    EXPECT_EQ(high.history[0].offset, 4u);
    EXPECT_EQ(high.history[0].data, (Bytes{1, 2}));
    ASSERT_EQ(low.history.size(), 1u);
    EXPECT_EQ(low.history[0].offset, 0xcu);
    EXPECT_EQ(bus.owner(0x2000), "high");
    EXPECT_EQ(bus.owner(0x2010), "");
}

TEST(Bus, UnclaimedReadsGiveAllOnes)
{
    Recorder device;
    Bus bus;
    ASSERT_TRUE(bus.add("device", 0x1000, 0x10, device).ok());
    for (const u64 address :
         {u64{0}, u64{0xfff}, u64{0x1010}, u64{0x100e}, ~u64{0}}) { // 0x100e crosses the end
        Bytes data(4, 0);
        EXPECT_FALSE(bus.read(address, data)) << std::hex << address;
        EXPECT_EQ(data, Bytes(4, 0xff)) << std::hex << address;
        EXPECT_FALSE(bus.write(address, data));
    }
    EXPECT_TRUE(device.history.empty());
}

TEST(Bus, OverlapsAndImpossibleRangesAreRefused)
{
    Recorder device;
    Bus bus;
    ASSERT_TRUE(bus.add("first", 0x1000, 0x1000, device).ok());
    EXPECT_FALSE(bus.add("empty", 0x5000, 0, device).ok());
    EXPECT_FALSE(bus.add("wraps", ~u64{0} - 3, 8, device).ok());
    EXPECT_FALSE(bus.add("head", 0xfff, 2, device).ok());
    EXPECT_FALSE(bus.add("tail", 0x1fff, 1, device).ok());
    EXPECT_FALSE(bus.add("around", 0, 0x10000, device).ok());
    const auto inside = bus.add("inside", 0x1800, 8, device);
    ASSERT_FALSE(inside.ok());
    EXPECT_NE(inside.error().text.find("first"), std::string::npos);
    EXPECT_TRUE(bus.add("before", 0xff0, 0x10, device).ok());
    EXPECT_TRUE(bus.add("after", 0x2000, 1, device).ok());
}

TEST(TestDevice, ReadsReturnWhatWasLastWrittenAtAnySize)
{
    TestDevice device(0x20);
    Bytes eight{1, 2, 3, 4, 5, 6, 7, 8};
    device.write(0x18, eight);
    for (const std::size_t size : {1u, 2u, 4u, 8u}) {
        Bytes data(size);
        device.read(0x18, data);
        EXPECT_EQ(data, Bytes(eight.begin(), eight.begin() + static_cast<long>(size)));
    }
    device.write(0x1a, Bytes{0xaa});
    Bytes data(8);
    device.read(0x18, data);
    EXPECT_EQ(data, (Bytes{1, 2, 0xaa, 4, 5, 6, 7, 8}));
    device.read(0, data);
    EXPECT_EQ(data, Bytes(8, 0));
}

} // namespace
} // namespace seamless::devices
