// SPDX-License-Identifier: Apache-2.0
// The interval timer: counts in every mode, latches, status, and the gate of port B.
#include <gtest/gtest.h>

#include "devices/pit.h"

namespace seamless::devices {
namespace {

struct Chip {
    struct Fixed : Clock {
        u64 now = 1'000'000;
        i64 seconds() const override { return 0; }
        u64 nanoseconds() const override { return now; }
    } clock;
    Pit pit{clock};
    PortB port_b{pit, clock};

    void out(u64 port, u8 value) { pit.write(port - Pit::kPort, {&value, 1}); }
    u8 in(u64 port)
    {
        u8 value = 0;
        pit.read(port - Pit::kPort, {&value, 1});
        return value;
    }
    u8 status()
    {
        u8 value = 0;
        port_b.read(0, {&value, 1});
        return value;
    }
    void gate(u8 value) { port_b.write(0, {&value, 1}); }
    u16 in16(u64 port)
    {
        const u8 low = in(port);
        return static_cast<u16>(low | in(port) << 8);
    }
    void pass(u64 ticks) { clock.now += (ticks * 1'000'000'000 + Pit::kHz - 1) / Pit::kHz; }
    void start(u8 mode, u16 count)
    {
        out(0x43, static_cast<u8>(0xb0 | mode << 1));
        out(0x42, static_cast<u8>(count));
        out(0x42, static_cast<u8>(count >> 8));
    }
};

TEST(Pit, CountsDownOnce)
{
    Chip chip;
    chip.gate(1);
    chip.start(0, 0xffff);
    EXPECT_EQ(chip.in16(0x42), 0xffff);
    chip.pass(0x1234);
    EXPECT_EQ(chip.in16(0x42), 0xffff - 0x1234);
    EXPECT_FALSE(chip.status() & 0x20);
    chip.pass(0xffff - 0x1234);
    EXPECT_TRUE(chip.status() & 0x20);
    chip.pass(1);
    EXPECT_EQ(chip.in16(0x42), 0xffff); // goes on through zero
    EXPECT_TRUE(chip.status() & 0x20);
}

TEST(Pit, HoldsWhileTheGateIsLow)
{
    Chip chip;
    chip.gate(0);
    chip.start(0, 1000);
    chip.pass(5000);
    EXPECT_EQ(chip.in16(0x42), 1000);
    EXPECT_EQ(chip.status() & 0x21, 0);
    chip.gate(1);
    chip.pass(400);
    chip.gate(0);
    chip.pass(5000);
    EXPECT_EQ(chip.in16(0x42), 600);
    chip.gate(3);
    chip.pass(600);
    EXPECT_EQ(chip.status() & 0x23, 0x23);
}

TEST(Pit, StartsAgainByItself)
{
    Chip chip;
    chip.gate(1);
    chip.start(2, 100);
    chip.pass(250);
    EXPECT_EQ(chip.in16(0x42), 50);
    chip.start(3, 100);
    chip.pass(10);
    EXPECT_EQ(chip.in16(0x42), 80);
    EXPECT_TRUE(chip.status() & 0x20);
    chip.pass(50);
    EXPECT_FALSE(chip.status() & 0x20);
}

TEST(Pit, ALatchHoldsUntilItIsRead)
{
    Chip chip;
    chip.gate(1);
    chip.start(0, 5000);
    chip.pass(1000);
    chip.out(0x43, 0x80);
    chip.pass(1000);
    chip.out(0x43, 0x80); // too early: the first one stays
    EXPECT_EQ(chip.in16(0x42), 4000);
    EXPECT_EQ(chip.in16(0x42), 3000);
}

TEST(Pit, ReadBackShowsStatusThenCount)
{
    Chip chip;
    chip.gate(1);
    chip.out(0x43, 0xb0);
    chip.out(0x43, 0xe8); // status of the third counter
    EXPECT_EQ(chip.in(0x42), 0x70);
    chip.start(0, 100);
    chip.pass(40);
    chip.out(0x43, 0xc8);
    EXPECT_EQ(chip.in(0x42), 0x30);
    EXPECT_EQ(chip.in16(0x42), 60);
}

TEST(Pit, BcdAndSingleBytes)
{
    Chip chip;
    chip.out(0x43, 0x31); // first counter, both bytes, mode 0, BCD
    chip.out(0x40, 0x00);
    chip.out(0x40, 0x10);
    chip.pass(1);
    EXPECT_EQ(chip.in16(0x40), 0x999);
    chip.out(0x43, 0x50); // second counter, low byte
    chip.out(0x41, 200);
    chip.pass(10);
    EXPECT_EQ(chip.in(0x41), 190);
    chip.out(0x43, 0x60); // high byte
    chip.out(0x41, 2);
    chip.pass(0x110);
    EXPECT_EQ(chip.in(0x41), 0);
    EXPECT_EQ(chip.in(0x43), 0xff);
}

TEST(Pit, ZeroIsTheLargestCount)
{
    Chip chip;
    chip.gate(1);
    chip.start(0, 0);
    chip.pass(0x8000);
    EXPECT_FALSE(chip.status() & 0x20);
    EXPECT_EQ(chip.in16(0x42), 0x8000);
    chip.pass(0x8000);
    EXPECT_TRUE(chip.status() & 0x20);
}

} // namespace
} // namespace seamless::devices
