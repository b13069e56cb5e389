// SPDX-License-Identifier: Apache-2.0
// The real-time clock: dates in every encoding, setting the time, and the memory behind it.
#include <gtest/gtest.h>

#include "devices/rtc.h"

namespace seamless::devices {
namespace {

struct Chip {
    struct Clock : devices::Clock {
        i64 now = 951'782'399; // 2000-02-28 23:59:59, a Monday
        i64 seconds() const override { return now; }
        u64 nanoseconds() const override { return 0; }
    } clock;
    Rtc rtc{clock};

    u8 in(u8 index)
    {
        rtc.write(0, {&index, 1});
        u8 value = 0;
        rtc.read(1, {&value, 1});
        return value;
    }
    void out(u8 index, u8 value)
    {
        rtc.write(0, {&index, 1});
        rtc.write(1, {&value, 1});
    }
    // Century, year, month, day, hour, minute, second, day of the week.
    std::vector<unsigned> time() { return {in(0x32), in(9), in(8), in(7), in(4), in(2), in(0), in(6)}; }
};

using Time = std::vector<unsigned>;

TEST(Rtc, ShowsTheClockInBcd)
{
    Chip chip;
    EXPECT_EQ(chip.time(), (Time{0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 2}));
    ++chip.clock.now;
    EXPECT_EQ(chip.time(), (Time{0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00, 3})); // a leap year
    EXPECT_EQ(chip.in(0xa), 0x26);
    EXPECT_EQ(chip.in(0xb), 0x02);
    EXPECT_EQ(chip.in(0xc), 0);
    EXPECT_EQ(chip.in(0xd), 0x80);
}

TEST(Rtc, BinaryAndTwelveHours)
{
    Chip chip;
    chip.out(0xb, 0x06);
    EXPECT_EQ(chip.time(), (Time{20, 0, 2, 28, 23, 59, 59, 2}));
    chip.out(0xb, 0x00);
    EXPECT_EQ(chip.in(4), 0x91); // 11 PM
    ++chip.clock.now;
    EXPECT_EQ(chip.in(4), 0x12); // midnight is 12 AM
    chip.clock.now += 12 * 3600;
    EXPECT_EQ(chip.in(4), 0x92);
    chip.out(4, 0x81);
    chip.out(0xb, 0x02);
    EXPECT_EQ(chip.in(4), 0x13);
}

TEST(Rtc, SettingTheTimeStopsTheClockAndThenItRunsOn)
{
    Chip chip;
    chip.out(0xb, 0x82);
    const u8 registers[][2] = {{0x32, 0x20}, {9, 0x24}, {8, 0x12}, {7, 0x31},
                               {4, 0x10},    {2, 0x20}, {0, 0x30}};
    for (const auto& r : registers)
        chip.out(r[0], r[1]);
    chip.clock.now += 100;
    EXPECT_EQ(chip.in(0), 0x30);
    chip.out(0xb, 0x02);
    EXPECT_EQ(chip.time(), (Time{0x20, 0x24, 0x12, 0x31, 0x10, 0x20, 0x30, 3}));
    chip.clock.now += 40;
    EXPECT_EQ(chip.in(0), 0x10);
    EXPECT_EQ(chip.in(2), 0x21);
    chip.out(2, 0x55); // without stopping
    EXPECT_EQ(chip.in(2), 0x55);
}

TEST(Rtc, TimesThatDoNotExistAreNotTaken)
{
    Chip chip;
    for (const u8 index : {u8{0}, u8{2}, u8{4}, u8{7}, u8{8}, u8{9}, u8{0x32}}) {
        chip.out(index, 0xff);
        EXPECT_EQ(chip.in(9), 0x00) << unsigned{index};
        EXPECT_EQ(chip.in(8), 0x02) << unsigned{index};
    }
    chip.out(0xb, 0x82);
    chip.out(8, 0x00);
    chip.out(7, 0x00);
    chip.out(0xb, 0x02);
    EXPECT_EQ(chip.time(), (Time{0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 2}));
}

TEST(Rtc, MemoryHoldsAndStatusDoesNot)
{
    Chip chip;
    chip.out(0x0f, 0xa5);
    chip.out(0x7f, 0x5a);
    EXPECT_EQ(chip.in(0x0f), 0xa5);
    EXPECT_EQ(chip.in(0xff), 0x5a); // bit 7 is not of the index
    chip.out(0xc, 0xff);
    chip.out(0xd, 0x00);
    chip.out(0xa, 0xff);
    EXPECT_EQ(chip.in(0xc), 0);
    EXPECT_EQ(chip.in(0xd), 0x80);
    EXPECT_EQ(chip.in(0xa), 0x7f); // never an update in progress
}

TEST(Rtc, WideAccessesReachBothPorts)
{
    Chip chip;
    const u8 both[] = {0x40, 0x77};
    chip.rtc.write(0, both);
    u8 data[2] = {};
    chip.rtc.read(0, data);
    EXPECT_EQ(data[0], 0xff);
    EXPECT_EQ(data[1], 0x77);
}

} // namespace
} // namespace seamless::devices
