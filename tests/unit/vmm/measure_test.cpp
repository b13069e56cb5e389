// SPDX-License-Identifier: Apache-2.0
// MRTD against a computation by hand over the concatenated records.
#include <gtest/gtest.h>
#include <openssl/sha.h>

#include "unit/vmm/firmware_image.h"
#include "unit/vmm/kernel_image.h"
#include "vmm/measure.h"
#include "vmm/virtio_layout.h"

namespace seamless::vmm::test {
namespace {

// The stream that SHA-384 sees, written out byte by byte.
struct Stream {
    std::vector<u8> bytes;

    void record(const char* name, u64 gpa)
    {
        std::vector<u8> r(128);
        for (std::size_t i = 0; name[i] != 0; ++i)
            r[i] = static_cast<u8>(name[i]);
        for (unsigned i = 0; i < 8; ++i)
            r[16 + i] = static_cast<u8>(gpa >> (8 * i));
        bytes.insert(bytes.end(), r.begin(), r.end());
    }
    void chunk(const std::vector<u8>& from, u64 offset)
    {
        for (u64 i = 0; i < 256; ++i)
            bytes.push_back(offset + i < from.size() ? from[offset + i] : u8{0});
    }
    Mrtd digest() const
    {
        Mrtd out{};
        SHA384(bytes.data(), bytes.size(), out.data());
        return out;
    }
};

Stream by_hand(const ImageBuilder& b)
{
    Stream stream;
    for (u64 page = 0; page < 8; ++page) { // BFV, measured
        const u64 gpa = ImageBuilder::kBase + 0x8000 + page * 0x1000;
        stream.record("MEM.PAGE.ADD", gpa);
        for (u64 k = 0; k < 16; ++k) {
            stream.record("MR.EXTEND", gpa + k * 256);
            stream.chunk(b.bytes, 0x8000 + page * 0x1000 + k * 256);
        }
    }
    for (const u64 gpa : {ImageBuilder::kBase, ImageBuilder::kBase + 0x1000, u64{0x810000}, u64{0x811000},
                          u64{0x812000}, u64{0x809000}, u64{0x80a000}})
        stream.record("MEM.PAGE.ADD", gpa);
    return stream;
}

TEST(Measure, MrtdIsTheDigestOfTheRecordsInSectionOrder)
{
    ImageBuilder b;
    b.build();
    const auto mrtd = measure_tdvf(b.bytes, parse_tdvf(b.bytes).value());
    ASSERT_TRUE(mrtd.ok());
    EXPECT_EQ(mrtd.value(), by_hand(b).digest());
}

TEST(Measure, ContentCountsOnlyWhereTheSectionIsMeasured)
{
    ImageBuilder b;
    b.build();
    const Mrtd before = measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value();
    b.bytes[0x10] ^= 1; // CFV
    EXPECT_EQ(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value(), before);
    b.bytes[0x8010] ^= 1; // BFV
    EXPECT_NE(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value(), before);
}

TEST(Measure, OrderOfSectionsMatters)
{
    ImageBuilder b;
    b.build();
    const Mrtd before = measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value();
    std::swap(b.sections[2], b.sections[3]);
    b.build();
    // The metadata lies in the measured section: compare with a hand computation, not merely with the old
    // value.
    EXPECT_NE(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value(), before);
    Stream stream = by_hand(b);
    EXPECT_NE(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value(), stream.digest());
}

TEST(Measure, PermMemIsNotAdded)
{
    ImageBuilder b;
    b.sections.push_back({.address = 0x900000, .size = 0x4000, .type = TdvfType::PermMem, .attributes = 2});
    b.build();
    EXPECT_EQ(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).value(), by_hand(b).digest());
}

TEST(Measure, MeasuredHandOffBlocksAreRefused)
{
    ImageBuilder b;
    b.sections[3].attributes = 1;
    b.build();
    EXPECT_FALSE(measure_tdvf(b.bytes, parse_tdvf(b.bytes).value()).ok());
}

// SHA-384 of a register and an event's digest, as TDG.MR.RTMR.EXTEND makes the next value.
Digest extended(const Digest& rtmr, std::span<const u8> event)
{
    std::vector<u8> both(rtmr.begin(), rtmr.end());
    both.resize(96);
    SHA384(event.data(), event.size(), both.data() + 48);
    Digest out{};
    SHA384(both.data(), both.size(), out.data());
    return out;
}

TEST(MeasureLinux, RegistersHoldTablesKernelAndParameters)
{
    const KernelBuilder b;
    const std::vector<u8> disk{1, 2, 3}, line{'a', '=', 'b', 0};
    const TemporaryFile kernel(b.bytes), initrd(disk);
    const Digest zero{};
    const auto with = measure_linux(load_linux(kernel.path(), initrd.path(), "a=b").value(), 3).value();
    EXPECT_EQ(with[0], extended(zero, machine_tables(3).tables));
    EXPECT_EQ(with[1], extended(zero, b.bytes));
    EXPECT_EQ(with[2], extended(extended(zero, line), disk));
    const auto without = measure_linux(load_linux(kernel.path(), "", "a=b").value(), 3).value();
    EXPECT_EQ(without[2], extended(zero, line));
}

} // namespace
} // namespace seamless::vmm::test
