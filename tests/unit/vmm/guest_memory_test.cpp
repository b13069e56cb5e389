// SPDX-License-Identifier: Apache-2.0
// Which memory a TD uses as private, through conversions that meet, overlap and split; and devices that are
// sent to the wrong place.
#include <gtest/gtest.h>

#include "unit/vmm/fake_kvm.h"
#include "vmm/dma.h"

namespace seamless::vmm {
namespace {

constexpr u64 kPage = 0x1000, kSize = 64 * kPage;

struct Memory : testing::Test {
    test::FakeKvm kvm;
    KvmFd vm{kvm, test::FakeKvm::kVm};
    GuestMemory memory{vm, true};

    Memory() { EXPECT_TRUE(memory.add({0, kSize}).ok()); }
    void convert(u64 first, u64 pages, bool to_private)
    {
        EXPECT_EQ(memory.convert({first * kPage, pages * kPage}, to_private), 0);
    }
    // One character a page: 'p' or 's'.
    std::string map(u64 pages)
    {
        std::string text;
        for (u64 i = 0; i < pages; ++i)
            text += memory.is_private({i * kPage, kPage}) ? 'p' : 's';
        return text;
    }
};

TEST_F(Memory, ConversionsMeetOverlapAndSplit)
{
    EXPECT_EQ(map(8), "pppppppp");
    convert(1, 2, false);
    convert(3, 1, false);
    convert(5, 1, false);
    EXPECT_EQ(map(8), "pssspspp");
    EXPECT_FALSE(memory.is_private({kPage, 3 * kPage})) << "ranges that meet are one";
    EXPECT_TRUE(memory.is_private({kPage, 5 * kPage}));
    convert(2, 1, true);
    EXPECT_EQ(map(8), "pspspspp");
    convert(0, 8, false);
    EXPECT_EQ(map(8), "ssssssss");
    convert(0, 64, true);
    EXPECT_EQ(map(8), "pppppppp");
}

TEST_F(Memory, AMapWithManyHolesIsRight)
{
    std::string expected(64, 'p');
    for (u64 i = 0; i < 500; ++i) {
        const u64 first = i * 7919 % 60, pages = 1 + i * 31 % 4;
        const bool to_private = i * 13 % 5 < 2;
        convert(first, pages, to_private);
        expected.replace(first, pages, pages, to_private ? 'p' : 's');
        ASSERT_EQ(map(64), expected) << i;
    }
}

TEST_F(Memory, RefusedConversionsChangeNothing)
{
    kvm.refuse[spec::kvm::KVM_SET_MEMORY_ATTRIBUTES] = EIO;
    EXPECT_EQ(memory.convert({0, kPage}, false), EIO);
    EXPECT_EQ(map(1), "p");
}

TEST_F(Memory, DevicesThatAreSentToTheWrongPlaceAreNoted)
{
    Dma dma(memory);
    convert(1, 1, false);
    EXPECT_NE(dma.map(kPage, 64), nullptr);
    EXPECT_TRUE(dma.mistakes().empty());
    EXPECT_NE(dma.map(2 * kPage - 8, 16), nullptr) << "the shared side of the page, as on hardware";
    EXPECT_EQ(dma.map(kSize, 1), nullptr);
    const auto found = dma.mistakes();
    ASSERT_EQ(found.size(), 2u);
    EXPECT_TRUE(found[0].memory);
    EXPECT_EQ(found[0].address, 2 * kPage - 8);
    EXPECT_FALSE(found[1].memory);
    for (int i = 0; i < 100; ++i)
        (void)dma.map(kSize, 1);
    EXPECT_LE(dma.mistakes().size(), 8u);
}

TEST(PlainMemory, IsNeverPrivate)
{
    test::FakeKvm kvm;
    KvmFd vm(kvm, test::FakeKvm::kVm);
    GuestMemory memory(vm, false);
    EXPECT_TRUE(memory.add({0, kSize}).ok());
    EXPECT_FALSE(memory.is_private({0, kPage}));
}

} // namespace
} // namespace seamless::vmm
