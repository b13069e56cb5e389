// SPDX-License-Identifier: Apache-2.0
// The UART and the ports that end the machine.
#include <gtest/gtest.h>
#include <string>

#include "devices/machine_end.h"
#include "devices/serial.h"

namespace seamless::devices {
namespace {

struct Collect : SerialSink {
    std::string text;
    void transmit(u8 byte) override { text += static_cast<char>(byte); }
};

struct Port {
    Collect sink;
    Serial serial{sink};

    u8 in(u64 offset)
    {
        u8 value = 0;
        serial.read(offset, {&value, 1});
        return value;
    }
    void out(u64 offset, u8 value) { serial.write(offset, {&value, 1}); }
    std::size_t receive(std::string_view text)
    {
        return serial.receive({reinterpret_cast<const u8*>(text.data()), text.size()});
    }
};

TEST(Serial, TransmitsAtOnceAndIsAlwaysReady)
{
    Port port;
    EXPECT_EQ(port.in(5) & 0x60, 0x60);
    for (const char c : std::string("hi\n"))
        port.out(0, static_cast<u8>(c));
    EXPECT_EQ(port.sink.text, "hi\n");
    EXPECT_EQ(port.in(5) & 0x60, 0x60);
}

TEST(Serial, DivisorLatchHidesTheDataRegister)
{
    Port port;
    port.out(3, 0x83);
    port.out(0, 1);
    port.out(1, 2);
    EXPECT_EQ(port.in(0), 1);
    EXPECT_EQ(port.in(1), 2);
    port.out(3, 0x03);
    EXPECT_EQ(port.in(1), 0);
    EXPECT_TRUE(port.sink.text.empty());
}

TEST(Serial, ReceivedBytesComeInOrderAndRaiseTheEnabledInterrupt)
{
    Port port;
    port.out(4, 0x08);
    EXPECT_EQ(port.receive("ab"), 2u);
    EXPECT_EQ(port.in(5) & 1, 1);
    EXPECT_FALSE(port.serial.interrupt());
    port.out(1, 1);
    EXPECT_TRUE(port.serial.interrupt());
    EXPECT_EQ(port.in(2), 4);
    EXPECT_EQ(port.in(0), 'a');
    EXPECT_EQ(port.in(0), 'b');
    EXPECT_EQ(port.in(5) & 1, 0);
    EXPECT_FALSE(port.serial.interrupt());
    EXPECT_EQ(port.in(2), 1);
}

TEST(Serial, ReceptionIsBounded)
{
    Port port;
    EXPECT_EQ(port.receive(std::string(Serial::kReceiveBuffer + 10, 'x')), Serial::kReceiveBuffer);
    EXPECT_EQ(port.receive("y"), 0u);
}

TEST(Serial, ReadingIirAcknowledgesTheTransmitterInterrupt)
{
    Port port;
    port.out(4, 0x08);
    port.out(1, 2);
    EXPECT_TRUE(port.serial.interrupt());
    EXPECT_EQ(port.in(2), 2);
    EXPECT_FALSE(port.serial.interrupt());
    port.out(0, 'x');
    EXPECT_TRUE(port.serial.interrupt());
    port.out(4, 0);
    EXPECT_FALSE(port.serial.interrupt()); // OUT2 disconnects the line
}

TEST(Serial, FifoIsIdentifiedAndClearsReception)
{
    Port port;
    EXPECT_EQ(port.in(2), 1);
    port.receive("z");
    port.out(2, 0x07);
    EXPECT_EQ(port.in(2), 0xc1);
    EXPECT_EQ(port.in(5) & 1, 0);
}

TEST(Serial, LoopbackReturnsDataAndModemLines)
{
    Port port;
    port.out(4, 0x10 | 0x0a);
    EXPECT_EQ(port.in(6), 0x90); // RTS gives CTS, OUT2 gives DCD
    port.out(0, 0xae);
    EXPECT_TRUE(port.sink.text.empty());
    EXPECT_EQ(port.in(0), 0xae);
    EXPECT_EQ(port.receive("q"), 0u);
}

TEST(Serial, ScratchHoldsAndStatusRegistersDoNot)
{
    Port port;
    port.out(7, 0x5a);
    EXPECT_EQ(port.in(7), 0x5a);
    const u8 status = port.in(5);
    port.out(5, 0);
    EXPECT_EQ(port.in(5), status);
}

struct EndLog : MachineEnd {
    std::vector<u32> exits;
    int offs = 0;
    int resets = 0;
    void debug_exit(u32 value) override { exits.push_back(value); }
    void power_off() override { ++offs; }
    void reset() override { ++resets; }
};

TEST(DebugExit, ReportsTheValueOfAnyWidth)
{
    EndLog log;
    DebugExit port(log);
    port.write(0, std::vector<u8>{3});
    port.write(0, std::vector<u8>{0x34, 0x12, 0, 0});
    EXPECT_EQ(log.exits, (std::vector<u32>{3, 0x1234}));
    u8 value = 0xff;
    port.read(0, {&value, 1});
    EXPECT_EQ(value, 0);
}

TEST(PowerPort, OnlySleepEnableWithTypeZeroPowersOff)
{
    EndLog log;
    PowerPort port(log);
    port.write(0, std::vector<u8>{0x01, 0x00});
    port.write(0, std::vector<u8>{0x00, 0x24}); // another sleep type
    EXPECT_EQ(log.offs, 0);
    std::vector<u8> data(2);
    port.read(0, data);
    EXPECT_EQ(data, (std::vector<u8>{0x00, 0x04})); // SLP_EN reads as zero
    port.write(0, std::vector<u8>{0x00, 0x20});
    EXPECT_EQ(log.offs, 1);
    port.write(1, std::vector<u8>{0x20}); // the high byte alone
    EXPECT_EQ(log.offs, 2);
}

TEST(SleepPorts, OnlyTheEnabledPowerOffTypePowersOff)
{
    EndLog log;
    SleepPorts ports(log);
    ports.write(0, std::vector<u8>{0x14}); // type 5, not enabled
    ports.write(0, std::vector<u8>{0x30}); // type 4
    ports.write(1, std::vector<u8>{0x34}); // the status register
    EXPECT_EQ(log.offs, 0);
    std::vector<u8> data(2);
    ports.read(0, data);
    EXPECT_EQ(data, (std::vector<u8>{0x10, 0})); // SLP_EN reads as zero
    ports.write(0, std::vector<u8>{0x34});
    EXPECT_EQ(log.offs, 1);
    EXPECT_EQ(log.resets, 0);
}

TEST(ResetPort, OnlyTheResetBitResets)
{
    EndLog log;
    ResetPort port(log);
    port.write(0, std::vector<u8>{0xfb});
    EXPECT_EQ(log.resets, 0);
    std::vector<u8> data(1);
    port.read(0, data);
    EXPECT_EQ(data[0], 0x02);
    port.write(0, std::vector<u8>{0x06});
    EXPECT_EQ(log.resets, 1);
    EXPECT_EQ(log.offs, 0);
}

} // namespace
} // namespace seamless::devices
