// SPDX-License-Identifier: Apache-2.0
// The I/O APIC: registers, messages, edges, levels, masks, and a serial port on one of its pins.
#include <gtest/gtest.h>

#include "devices/ioapic.h"
#include "devices/serial.h"

namespace seamless::devices {
namespace {

constexpr u32 kMask = 1u << 16, kLevel = 1u << 15, kRemoteIrr = 1u << 14;

struct Board : IoapicBackend, SerialSink {
    std::vector<MsiMessage> sent;
    int route_changes = 0;
    Ioapic ioapic{*this};

    void send(const MsiMessage& message) override { sent.push_back(message); }
    void routes_changed() override { ++route_changes; }
    void transmit(u8) override {}

    void select(u8 index)
    {
        const u8 data[] = {index, 0, 0, 0};
        ioapic.write(0, data);
    }
    void out(u8 index, u32 value)
    {
        select(index);
        const u8 data[] = {static_cast<u8>(value), static_cast<u8>(value >> 8), static_cast<u8>(value >> 16),
                           static_cast<u8>(value >> 24)};
        ioapic.write(0x10, data);
    }
    u32 in(u8 index)
    {
        select(index);
        u8 data[4];
        ioapic.read(0x10, data);
        return static_cast<u32>(data[0] | data[1] << 8 | data[2] << 16) | u32{data[3]} << 24;
    }
    void entry(unsigned pin, u32 low, u32 high = 0)
    {
        out(static_cast<u8>(0x11 + 2 * pin), high);
        out(static_cast<u8>(0x10 + 2 * pin), low);
    }
    u32 entry_low(unsigned pin) { return in(static_cast<u8>(0x10 + 2 * pin)); }
    void line(unsigned pin, bool level) { ioapic.line(pin).set(level); }
};

TEST(Ioapic, ResetStateAndVersion)
{
    Board b;
    EXPECT_EQ(b.in(0), 0u);
    EXPECT_EQ(b.in(1), 0x00170020u);
    for (u8 i = 0; i < 24; ++i) {
        EXPECT_EQ(b.in(static_cast<u8>(0x10 + 2 * i)), kMask);
        EXPECT_EQ(b.in(static_cast<u8>(0x11 + 2 * i)), 0u);
    }
    EXPECT_EQ(b.in(0x40), 0u); // past the last entry
    b.out(0x40, 0xffffffff);
    b.out(0xff, 0xffffffff);
    b.out(1, 0);
    EXPECT_EQ(b.in(1), 0x00170020u);
    b.out(0, 0xffffffff);
    EXPECT_EQ(b.in(0), 0x0f000000u);
    EXPECT_EQ(b.in(2), 0x0f000000u);
}

TEST(Ioapic, ReservedAndReadOnlyBitsOfEntriesStayZero)
{
    Board b;
    b.entry(3, 0xffffffff, 0xffffffff);
    EXPECT_EQ(b.entry_low(3), 0x1afffu);
    EXPECT_EQ(b.in(0x17), 0xff000000u);
}

TEST(Ioapic, EdgeSendsOneMessageForEachRise)
{
    Board b;
    b.entry(4, 0x31, 0x02000000);
    b.line(4, true);
    b.line(4, true);
    EXPECT_EQ(b.sent, (std::vector<MsiMessage>{{0xfee02000, 0x31}}));
    b.line(4, false);
    b.line(4, true);
    EXPECT_EQ(b.sent.size(), 2u);
    b.ioapic.end_of_interrupt(0x31); // means nothing to an edge
    EXPECT_EQ(b.sent.size(), 2u);
    EXPECT_EQ(b.route_changes, 0);
}

TEST(Ioapic, EdgesOfAMaskedPinAreLost)
{
    Board b;
    b.entry(4, 0x31 | kMask);
    b.line(4, true);
    b.entry(4, 0x31);
    EXPECT_TRUE(b.sent.empty());
    b.line(4, false);
    b.line(4, true);
    EXPECT_EQ(b.sent.size(), 1u);
}

TEST(Ioapic, PinsTellWhyNothingComes)
{
    Board b;
    b.entry(4, kMask | 0x31);
    b.line(4, true);
    EXPECT_TRUE(b.ioapic.pin(4).masked && b.ioapic.pin(4).asserted && b.ioapic.pin(4).lost);
    EXPECT_EQ(b.ioapic.pin(4).vector, 0x31);
    b.line(4, false);
    b.entry(4, 0x31);
    EXPECT_TRUE(b.ioapic.pin(4).lost);
    b.line(4, true);
    EXPECT_FALSE(b.ioapic.pin(4).lost);
    b.entry(5, kLevel | 0x32);
    b.line(5, true);
    EXPECT_TRUE(b.ioapic.pin(5).level && b.ioapic.pin(5).remote_irr);
    EXPECT_FALSE(b.ioapic.pin(5).lost);
}

TEST(Ioapic, MessageCarriesModeAndLogicalDestination)
{
    Board b;
    b.entry(0, 0x80 | 1 << 8 | 1 << 11, 0x0f000000); // lowest priority, logical
    b.line(0, true);
    EXPECT_EQ(b.sent.at(0), (MsiMessage{0xfee0f004, 0x180}));
    b.entry(1, 0x80 | 7 << 8); // ExtINT: there is no 8259 to ask
    b.line(1, true);
    EXPECT_EQ(b.sent.size(), 1u);
}

TEST(Ioapic, LevelIsSentAgainAfterItsEoiWhileAsserted)
{
    Board b;
    b.entry(10, 0x51 | kLevel);
    EXPECT_EQ(b.route_changes, 1);
    b.line(10, true);
    EXPECT_EQ(b.sent, (std::vector<MsiMessage>{{0xfee00000, 0xc051}}));
    EXPECT_TRUE(b.entry_low(10) & kRemoteIrr);
    b.line(10, false);
    b.line(10, true); // remote IRR holds it back
    b.ioapic.end_of_interrupt(0x52);
    EXPECT_EQ(b.sent.size(), 1u);
    b.ioapic.end_of_interrupt(0x51);
    EXPECT_EQ(b.sent.size(), 2u);
    b.line(10, false);
    const u8 eoi[] = {0x51, 0, 0, 0};
    b.ioapic.write(0x40, eoi);
    EXPECT_EQ(b.sent.size(), 2u);
    EXPECT_FALSE(b.entry_low(10) & kRemoteIrr);
}

TEST(Ioapic, LevelWaitsBehindItsMask)
{
    Board b;
    b.entry(10, 0x51 | kLevel | kMask);
    b.line(10, true);
    EXPECT_TRUE(b.sent.empty());
    b.entry(10, 0x51 | kLevel);
    EXPECT_EQ(b.sent.size(), 1u);
    b.entry(10, 0x51); // an edge entry keeps no remote IRR
    EXPECT_FALSE(b.entry_low(10) & kRemoteIrr);
    b.entry(10, 0x51 | kLevel);
    EXPECT_EQ(b.sent.size(), 2u);
}

TEST(Ioapic, RoutesChangeOnlyWithTheMessagesOfLevelPins)
{
    Board b;
    b.entry(5, 0x41 | kMask);
    b.entry(5, 0x42);
    EXPECT_EQ(b.route_changes, 0);
    b.entry(5, 0x42 | kLevel);
    b.entry(5, 0x42 | kLevel | kMask);
    EXPECT_EQ(b.route_changes, 1);
    b.entry(5, 0x43 | kLevel, 0x01000000);
    EXPECT_EQ(b.route_changes, 3); // high half, low half
    EXPECT_TRUE(b.ioapic.level_triggered(5));
    b.entry(5, 0x43, 0x01000000);
    EXPECT_EQ(b.route_changes, 4);
}

TEST(Ioapic, NarrowAndStrayAccessesDoNoHarm)
{
    Board b;
    const u8 one[] = {0x12};
    b.ioapic.write(0, one); // selects
    b.ioapic.write(0x10, one);
    b.ioapic.write(0x20, one);
    const u8 eight[8] = {0xff};
    b.ioapic.write(0x10, eight);
    EXPECT_EQ(b.in(0x12), kMask);
    u8 data[8];
    b.ioapic.read(0x123, data);
    EXPECT_EQ(data[0], 0);
}

// The order in which a driver of the 16550A works: enable, serve until IIR says none, and again.
TEST(Ioapic, SerialPortRaisesAnEdgeForEachRoundOfService)
{
    Board b;
    Serial serial(b, &b.ioapic.line(4));
    b.entry(4, 0x31);
    const auto out = [&](u64 offset, u8 value) { serial.write(offset, {&value, 1}); };
    const auto in = [&](u64 offset) {
        u8 value = 0;
        serial.read(offset, {&value, 1});
        return value;
    };
    out(1, 2); // THRE interrupt on, but OUT2 does not connect the line
    EXPECT_EQ(b.sent.size(), 0u);
    out(4, 8);
    EXPECT_EQ(b.sent.size(), 1u);
    EXPECT_EQ(in(2), 2);
    out(0, 'x');
    EXPECT_EQ(b.sent.size(), 2u);
    EXPECT_EQ(in(2), 2);
    EXPECT_EQ(in(2), 1);
    out(1, 1);
    const u8 byte = 'i';
    serial.receive({&byte, 1});
    EXPECT_EQ(b.sent.size(), 3u);
    serial.receive({&byte, 1}); // the line is up already
    EXPECT_EQ(b.sent.size(), 3u);
    EXPECT_EQ(in(0), 'i');
    EXPECT_EQ(in(0), 'i');
    serial.receive({&byte, 1});
    EXPECT_EQ(b.sent.size(), 4u);
}

} // namespace
} // namespace seamless::devices
