// SPDX-License-Identifier: Apache-2.0
// fw_cfg through its ports: selection, data, the directory, DMA and what DMA refuses.
#include <cstring>
#include <gtest/gtest.h>

#include "devices/fw_cfg.h"

namespace seamless::devices {
namespace {

struct FakeMemory : DmaMemory {
    std::vector<u8> bytes = std::vector<u8>(0x1000, u8{0xcc});

    u8* map(u64 address, u64 size) override
    {
        const bool inside = address <= bytes.size() && size <= bytes.size() - address;
        return inside ? bytes.data() + address : nullptr;
    }
};

struct Port {
    FakeMemory memory;
    FwCfg device{memory};

    void select(u16 key)
    {
        const u8 data[] = {static_cast<u8>(key), static_cast<u8>(key >> 8)};
        device.write(0, data);
    }
    std::string in(std::size_t count)
    {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) {
            u8 byte = 0xee;
            device.read(1, {&byte, 1});
            text += static_cast<char>(byte);
        }
        return text;
    }
    void put_be(u64 at, u64 value, unsigned size)
    {
        for (unsigned i = 0; i < size; ++i)
            memory.bytes[at + i] = static_cast<u8>(value >> ((size - 1 - i) * 8));
    }
    void start(u32 address_high, u32 address_low)
    {
        const auto out = [&](u64 offset, u32 value) {
            const u8 data[] = {static_cast<u8>(value >> 24), static_cast<u8>(value >> 16),
                               static_cast<u8>(value >> 8), static_cast<u8>(value)};
            device.write(offset, data);
        };
        if (address_high != 0)
            out(4, address_high);
        out(8, address_low);
    }
    // A request at 0x100; returns the control word it leaves.
    u32 dma(u32 control, u32 length, u64 address)
    {
        put_be(0x100, control, 4);
        put_be(0x104, length, 4);
        put_be(0x108, address, 8);
        start(0, 0x100);
        u32 left = 0;
        for (unsigned i = 0; i < 4; ++i)
            left = left << 8 | memory.bytes[0x100 + i];
        return left;
    }
    std::string memory_text(u64 at, u64 size)
    {
        return {reinterpret_cast<const char*>(memory.bytes.data()) + at, size};
    }
};

constexpr u32 READ = 2, SKIP = 4, SELECT = 8, WRITE = 16;
using namespace std::string_literals;

std::vector<u8> text(std::string_view t) { return {t.begin(), t.end()}; }

TEST(FwCfg, SignatureAndFeaturesAreQemus)
{
    Port port;
    EXPECT_EQ(port.in(6), "QEMU\0\0"s);
    port.select(1);
    EXPECT_EQ(port.in(5), "\3\0\0\0\0"s);
    std::vector<u8> address(8);
    port.device.read(4, address);
    EXPECT_EQ(std::string(address.begin(), address.end()), "QEMU CFG");
}

TEST(FwCfg, SelectingRewindsAndUnknownItemsReadAsZero)
{
    Port port;
    port.device.add(FwCfgKey::CMDLINE_DATA, text("quiet"));
    port.select(0x15);
    EXPECT_EQ(port.in(3), "qui");
    port.select(0x15);
    EXPECT_EQ(port.in(6), "quiet\0"s);
    port.select(0x7777);
    EXPECT_EQ(port.in(2), "\0\0"s);
}

TEST(FwCfg, DirectoryNamesTheFilesInOrder)
{
    Port port;
    port.device.add_file("etc/z", text("zz"));
    port.device.add_file("etc/a", text("aaa"));
    port.select(0x19);
    const std::string directory = port.in(4 + 2 * 64);
    EXPECT_EQ(directory.substr(0, 4), "\0\0\0\2"s);
    EXPECT_EQ(directory.substr(4, 8), "\0\0\0\3\0\x21\0\0"s); // size, selector, reserved
    EXPECT_STREQ(directory.c_str() + 12, "etc/a");
    EXPECT_EQ(directory.substr(68, 8), "\0\0\0\2\0\x20\0\0"s);
    EXPECT_STREQ(directory.c_str() + 76, "etc/z");
    port.select(0x21);
    EXPECT_EQ(port.in(3), "aaa");
}

TEST(FwCfg, ExternalItemsAreReadWhereTheyAre)
{
    Port port;
    std::vector<u8> kernel = text("kernel");
    port.device.add_external(FwCfgKey::KERNEL_DATA, kernel);
    kernel[0] = 'K';
    port.select(0x11);
    EXPECT_EQ(port.in(6), "Kernel");
}

TEST(FwCfg, DmaSelectsReadsAndSkips)
{
    Port port;
    port.device.add(FwCfgKey::CMDLINE_DATA, text("abcdef"));
    EXPECT_EQ(port.dma(0x15 << 16 | SELECT | READ, 2, 0x200), 0u);
    EXPECT_EQ(port.memory_text(0x200, 3), "ab\xcc");
    EXPECT_EQ(port.dma(SKIP, 2, 0), 0u);
    EXPECT_EQ(port.dma(READ, 4, 0x200), 0u); // two bytes are left, the rest is zero
    EXPECT_EQ(port.memory_text(0x200, 5), "ef\0\0\xcc"s);
    EXPECT_EQ(port.dma(0x15 << 16 | SELECT, 0, 0), 0u);
    EXPECT_EQ(port.in(1), "a"); // the ports share the position
    EXPECT_EQ(port.dma(SKIP, 0xffffffff, 0), 0u);
    EXPECT_EQ(port.in(1), "\0"s);
}

TEST(FwCfg, DmaOutsideMemoryIsAnErrorAndCopiesNothing)
{
    Port port;
    port.device.add(FwCfgKey::CMDLINE_DATA, text("abcdef"));
    for (const u64 bad : {u64{0xfff}, u64{0x1000}, ~u64{0}, ~u64{0} - 3}) {
        EXPECT_EQ(port.dma(0x15 << 16 | SELECT | READ, 6, bad), 1u) << bad;
        EXPECT_EQ(port.memory.bytes[0xfff], 0xcc);
        EXPECT_EQ(port.in(1), "a");
    }
    EXPECT_EQ(port.dma(0x15 << 16 | SELECT | READ, 0xffffffff, 0x200), 1u); // zeros past the end of memory
}

TEST(FwCfg, WritesAreRefused)
{
    Port port;
    EXPECT_EQ(port.dma(SELECT | WRITE, 1, 0x200), 1u);
    EXPECT_EQ(port.dma(SELECT | WRITE, 0, 0x200), 0u);
}

TEST(FwCfg, RequestThatIsNotInMemoryIsIgnored)
{
    Port port;
    const std::vector<u8> before = port.memory.bytes;
    port.start(0, 0xff8); // half of it
    port.start(1, 0x100); // above 4 GiB
    EXPECT_EQ(port.memory.bytes, before);
    EXPECT_EQ(port.dma(0, 0, 0), 0u); // and the high half is forgotten
}

TEST(FwCfg, AddressMayComeInOneWrite)
{
    Port port;
    port.put_be(0x100, SELECT | READ, 4);
    port.put_be(0x104, 4, 4);
    port.put_be(0x108, 0x200, 8);
    const u8 address[] = {0, 0, 0, 0, 0, 0, 1, 0};
    port.device.write(4, address);
    EXPECT_EQ(port.memory_text(0x200, 4), "QEMU");
}

TEST(FwCfg, OddAccessesDoNothing)
{
    Port port;
    const u8 data[] = {0x19, 0, 0, 0};
    port.device.write(0, {data, 1});
    port.device.write(2, {data, 2});
    port.device.write(6, {data, 4});
    EXPECT_EQ(port.in(4), "QEMU");
}

} // namespace
} // namespace seamless::devices
