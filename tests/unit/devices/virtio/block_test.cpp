// SPDX-License-Identifier: Apache-2.0
// The block device through its transport: every request, and each way a request can be wrong.
#include "devices/virtio/block.h"
#include "unit/devices/virtio/bench.h"

namespace seamless::devices::virtio::test {
namespace {

constexpr u32 IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13;
constexpr u8 OK = 0, IOERR = 1, UNSUPP = 2;
constexpr u64 kFlushFeature = bit(9);

struct MemoryDisk : Disk {
    std::vector<u8> bytes = std::vector<u8>(64 * 512);
    bool fixed = false, failing = false;
    unsigned flushes = 0;

    u64 size() const override { return bytes.size(); }
    bool read_only() const override { return fixed; }
    bool read(u64 offset, std::span<const std::span<u8>> to) override
    {
        for (const std::span<u8> piece : to) {
            std::memcpy(piece.data(), bytes.data() + offset, piece.size());
            offset += piece.size();
        }
        return !failing;
    }
    bool write(u64 offset, std::span<const std::span<u8>> from) override
    {
        for (const std::span<u8> piece : from) {
            std::memcpy(bytes.data() + offset, piece.data(), piece.size());
            offset += piece.size();
        }
        return !failing;
    }
    bool flush() override
    {
        ++flushes;
        return !failing;
    }
    bool zero(u64 offset, u64 size, bool) override
    {
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), size, u8{0});
        return !failing;
    }
};

struct BlockTest : testing::Test {
    static constexpr u64 kHeader = Bench::kData, kStatus = Bench::kData + 0x20,
                         kBuffer = Bench::kData + 0x1000;
    MemoryDisk disk;
    Block block{disk, "disk-with-a-name-of-more-than-20"};
    Bench bench{block};
    unsigned requests = 0;

    // The status byte; 0xee if the device wrote none.
    u8 request(u32 type, u64 sector, u32 bytes, bool device_writes)
    {
        bench.ram.put<u32>(kHeader, type);
        bench.ram.put<u64>(kHeader + 8, sector);
        bench.ram.put<u8>(kStatus, 0xee);
        bench.describe(0, {kHeader, 16, kNext, 1});
        bench.describe(1, {kBuffer, bytes, static_cast<u16>(kNext | (device_writes ? kWrite : 0)), 2});
        bench.describe(2, {kStatus, 1, kWrite});
        bench.make_available(0);
        bench.kick();
        ++requests;
        return bench.ram.get<u8>(kStatus);
    }
    u32 last_length() { return bench.used_length((requests - 1) % Bench::kSize); }
    u8 zero_request(u32 type, u64 sector, u32 sectors, u32 flags, u32 bytes = 16)
    {
        bench.ram.put<u64>(kBuffer, sector);
        bench.ram.put<u32>(kBuffer + 8, sectors);
        bench.ram.put<u32>(kBuffer + 12, flags);
        return request(type, 0, bytes, false);
    }
};

TEST_F(BlockTest, DescribesTheDisk)
{
    EXPECT_EQ(bench.read(Register::DeviceID), 2u);
    EXPECT_EQ(bench.read(static_cast<Register>(0x100)), 64u);
    EXPECT_EQ(bench.read(static_cast<Register>(0x114)), 512u);
    EXPECT_EQ(bench.offered() & bit(5), 0u);
    disk.fixed = true;
    EXPECT_NE(bench.offered() & bit(5), 0u);
}

TEST_F(BlockTest, WritesReadsAndFlushes)
{
    bench.start(kFlushFeature);
    std::memset(bench.ram.map(kBuffer, 1024), 0x5a, 1024);
    EXPECT_EQ(request(OUT, 62, 1024, false), OK);
    EXPECT_EQ(last_length(), 1u);
    EXPECT_EQ(disk.bytes[62 * 512], 0x5a);
    EXPECT_EQ(disk.bytes[62 * 512 - 1], 0);
    std::memset(bench.ram.map(kBuffer, 1024), 0, 1024);
    EXPECT_EQ(request(IN, 62, 1024, true), OK);
    EXPECT_EQ(last_length(), 1025u);
    EXPECT_EQ(bench.ram.get<u8>(kBuffer + 1023), 0x5a);
    EXPECT_EQ(disk.flushes, 0u);
    EXPECT_EQ(request(FLUSH, 0, 0, true), OK);
    EXPECT_EQ(disk.flushes, 1u);
}

TEST_F(BlockTest, WithoutFlushesOfTheDriverEachWriteLasts)
{
    bench.start();
    EXPECT_EQ(request(OUT, 0, 512, false), OK);
    EXPECT_EQ(disk.flushes, 1u);
}

TEST_F(BlockTest, TellsItsName)
{
    bench.start();
    EXPECT_EQ(request(GET_ID, 0, 20, true), OK);
    EXPECT_EQ(std::memcmp(bench.ram.map(kBuffer, 20), "disk-with-a-name-of-", 20), 0);
}

TEST_F(BlockTest, DiscardsAndZeroes)
{
    disk.bytes.assign(disk.bytes.size(), 0x77);
    bench.start(kFlushFeature | bit(13) | bit(14));
    EXPECT_EQ(zero_request(DISCARD, 8, 8, 0), OK);
    EXPECT_EQ(disk.bytes[8 * 512], 0);
    EXPECT_EQ(disk.bytes[16 * 512], 0x77);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 63, 1, 1), OK);
    EXPECT_EQ(disk.bytes[63 * 512], 0);
    EXPECT_EQ(zero_request(DISCARD, 0, 8, 1), UNSUPP);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 0, 8, 2), UNSUPP);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 63, 2, 0), IOERR);
    EXPECT_EQ(zero_request(WRITE_ZEROES, ~u64{0}, 2, 0), IOERR);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 0, ~u32{0}, 0), IOERR);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 0, 8, 0, 32), IOERR); // two segments
    EXPECT_EQ(zero_request(WRITE_ZEROES, 0, 8, 0, 15), IOERR);
    EXPECT_EQ(disk.bytes[0], 0x77);
}

TEST_F(BlockTest, RefusesWhatIsNotOnTheDisk)
{
    bench.start();
    EXPECT_EQ(request(IN, 64, 512, true), IOERR);
    EXPECT_EQ(last_length(), 1u);
    EXPECT_EQ(request(IN, 63, 1024, true), IOERR);
    EXPECT_EQ(request(IN, ~u64{0}, 512, true), IOERR);
    EXPECT_EQ(request(IN, u64{1} << 55, 512, true), IOERR);
    EXPECT_EQ(request(OUT, 64, 512, false), IOERR);
    EXPECT_EQ(request(OUT, 0, 511, false), IOERR);
    EXPECT_EQ(request(IN, 64, 0, true), OK); // nothing, at the end
    EXPECT_EQ(request(99, 0, 512, true), UNSUPP);
    EXPECT_FALSE(bench.broken());
}

TEST_F(BlockTest, RefusesToChangeAReadOnlyDisk)
{
    disk.fixed = true;
    bench.start();
    std::memset(bench.ram.map(kBuffer, 512), 0x5a, 512);
    EXPECT_EQ(request(OUT, 0, 512, false), IOERR);
    EXPECT_EQ(zero_request(DISCARD, 0, 1, 0), IOERR);
    EXPECT_EQ(zero_request(WRITE_ZEROES, 0, 1, 0), IOERR);
    EXPECT_EQ(disk.bytes[0], 0);
    EXPECT_EQ(request(IN, 0, 512, true), OK);
}

TEST_F(BlockTest, ReportsTheFailuresOfTheDisk)
{
    bench.start(kFlushFeature);
    disk.failing = true;
    EXPECT_EQ(request(IN, 0, 512, true), IOERR);
    EXPECT_EQ(request(OUT, 0, 512, false), IOERR);
    EXPECT_EQ(request(FLUSH, 0, 0, true), IOERR);
    EXPECT_EQ(zero_request(DISCARD, 0, 1, 0), IOERR);
}

TEST_F(BlockTest, RequestsInOddPieces)
{
    bench.start(kFlushFeature);
    bench.ram.put<u32>(kHeader, OUT);
    bench.ram.put<u64>(kHeader + 8, 1);
    std::memset(bench.ram.map(kBuffer, 512), 0x33, 512);
    // The header in two pieces, the second with data after it.
    bench.describe(0, {kHeader, 7, kNext, 1});
    std::memmove(bench.ram.map(kBuffer - 9, 9), bench.ram.map(kHeader + 7, 9), 9);
    bench.describe(1, {kBuffer - 9, 9 + 500, kNext, 2});
    bench.describe(2, {kBuffer + 500, 12, kNext, 3});
    bench.describe(3, {kStatus, 1, kWrite});
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.ram.get<u8>(kStatus), OK);
    EXPECT_EQ(disk.bytes[512], 0x33);
    EXPECT_EQ(disk.bytes[1023], 0x33);
    EXPECT_EQ(disk.bytes[1024], 0);
}

TEST_F(BlockTest, ShortHeaderIsAnErrorAndNoStatusByteNeedsAReset)
{
    bench.start();
    bench.describe(0, {kHeader, 15, kNext, 1});
    bench.describe(1, {kStatus, 1, kWrite});
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.ram.get<u8>(kStatus), IOERR);
    bench.describe(0, {kHeader, 16});
    bench.make_available(0);
    bench.kick();
    EXPECT_TRUE(bench.broken());
}

TEST_F(BlockTest, BuffersLongerThanMemoryAreNotTransferred)
{
    disk.bytes.resize(512); // sparse in spirit: only the range is looked at
    bench.start();
    const u64 table = Bench::kData + 0x2000;
    bench.ram.put<u32>(kHeader, IN);
    bench.ram.put(table, Desc{kHeader, 16, kNext, 1});
    for (u16 i = 1; i < 254; ++i)
        bench.ram.put(table + 16 * u64{i},
                      Desc{Ram::kBase + 0x20000, 0x10000, kWrite | kNext, static_cast<u16>(i + 1)});
    bench.ram.put(table + 16 * 254, Desc{kStatus, 1, kWrite});
    bench.describe(0, {table, 16 * 255, kIndirect});
    bench.make_available(0);
    bench.kick();
    EXPECT_EQ(bench.ram.get<u8>(kStatus), IOERR);
}

} // namespace
} // namespace seamless::devices::virtio::test
