// SPDX-License-Identifier: Apache-2.0
// EFI's runtime services as the firmware copies them: what SetVirtualAddressMap converts, how often, and what
// it refuses. UEFI: "SetVirtualAddressMap()", "EFI Table Header".
#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <span>
#include <sys/mman.h>
#include <vector>

#include "base/bits.h"

extern "C" const char efi_page[], efi_page_end[], efi_reset_system[], efi_set_virtual_address_map[],
    efi_unsupported[], efi_seal[];

namespace {

using namespace seamless;

constexpr u64 kSuccess = 0, kInvalidParameter = 0x8000000000000002, kUnsupported = 0x8000000000000003;
constexpr u64 kPage = 4096;

struct Descriptor {
    u32 type, padding;
    u64 physical, virtual_address, pages, attribute;
};

u32 crc32(std::span<const u8> bytes)
{
    u32 crc = ~u32{0};
    for (const u8 byte : bytes)
        for (unsigned i = 0; i < 8; ++i)
            crc = crc >> 1 ^ (((crc ^ byte >> i) & 1) != 0 ? 0xedb88320 : 0);
    return ~crc;
}

// A copy that runs where it lies, as the firmware's does.
class EfiRuntime : public testing::Test {
  protected:
    enum : u64 {
        kVendor = 24,
        kRuntime = 88,
        kTables = 112,
        kSystemTableSize = 120,
        kServices = 144,
        kServicesEnd = 256
    };

    void SetUp() override
    {
        page_ = static_cast<u8*>(
            ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        ASSERT_NE(page_, MAP_FAILED);
        ASSERT_LE(static_cast<u64>(efi_page_end - efi_page), kPage);
        std::memcpy(page_, efi_page, static_cast<std::size_t>(efi_page_end - efi_page));
        set(kVendor, base() + 320);
        set(kRuntime, base() + kSystemTableSize);
        set(kTables, base() + kServicesEnd);
        for (u64 at = kServices; at < kServicesEnd; at += 8)
            set(at, base() + at * 3);
    }
    void TearDown() override { ::munmap(page_, kPage); }

    [[nodiscard]] u64 base() const { return reinterpret_cast<u64>(page_); }
    [[nodiscard]] u64 get(u64 offset) const
    {
        u64 value;
        std::memcpy(&value, page_ + offset, sizeof value);
        return value;
    }
    void set(u64 offset, u64 value) { std::memcpy(page_ + offset, &value, sizeof value); }
    [[nodiscard]] u8* at(const char* symbol) const { return page_ + (symbol - efi_page); }

    u64 convert(const void* map, u64 size, u64 descriptor_size = sizeof(Descriptor), u32 version = 1) const
    {
        using Service = __attribute__((ms_abi)) u64 (*)(u64, u64, u32, const void*);
        return reinterpret_cast<Service>(at(efi_set_virtual_address_map))(size, descriptor_size, version,
                                                                          map);
    }
    // The checksum holds, computed over the table with zero in its place.
    void expect_sealed(u64 offset, u64 size) const
    {
        std::vector<u8> table(page_ + offset, page_ + offset + size);
        u32 checksum = 0;
        std::memcpy(&checksum, table.data() + 16, sizeof checksum);
        std::memset(table.data() + 16, 0, sizeof checksum);
        EXPECT_EQ(checksum, crc32(table));
    }
    void expect_moved(u64 delta) const
    {
        EXPECT_EQ(get(kVendor), base() + 320 + delta);
        EXPECT_EQ(get(kRuntime), base() + kSystemTableSize + delta);
        EXPECT_EQ(get(kTables), base() + kServicesEnd + delta);
        for (u64 at = kServices; at < kServicesEnd; at += 8)
            EXPECT_EQ(get(at), base() + at * 3 + delta);
    }

    u8* page_ = nullptr;
};

TEST_F(EfiRuntime, EveryPointerOfTheTablesMovesOnceAndTheChecksumsFollow)
{
    constexpr u64 kVirtual = 0xffff'ffff'0000'5000;
    const std::array<Descriptor, 3> map{
        Descriptor{.physical = base() + kPage, .virtual_address = 0x1000, .pages = 5},
        Descriptor{.physical = base() - kPage, .virtual_address = kVirtual, .pages = 2},
        Descriptor{.physical = base(), .virtual_address = 0x9000, .pages = 1}};
    EXPECT_EQ(convert(map.data(), sizeof map), kSuccess);
    expect_moved(kVirtual + kPage - base());
    expect_sealed(0, kSystemTableSize);
    expect_sealed(kSystemTableSize, kServicesEnd - kSystemTableSize);

    EXPECT_EQ(convert(map.data(), sizeof map), kUnsupported) << "addresses are virtual by now";
    expect_moved(kVirtual + kPage - base());
}

TEST_F(EfiRuntime, ADescriptorMayBeLonger)
{
    struct Longer {
        Descriptor known;
        u64 more = ~u64{0};
    };
    const std::array<Longer, 2> map{Longer{{.physical = 0x1000, .virtual_address = 0, .pages = 1}},
                                    Longer{{.physical = base(), .virtual_address = 0x70000, .pages = 1}}};
    EXPECT_EQ(convert(map.data(), sizeof map, sizeof(Longer)), kSuccess);
    expect_moved(0x70000 - base());
}

TEST_F(EfiRuntime, AMapThatCannotBeUsedIsRefusedAndAnotherMayFollow)
{
    const Descriptor good{.physical = base(), .virtual_address = 0x70000, .pages = 1};
    const Descriptor before{.physical = base() - 2 * kPage, .virtual_address = 0x70000, .pages = 2};
    EXPECT_EQ(convert(&before, sizeof before), kInvalidParameter) << "it lacks this page";
    EXPECT_EQ(convert(&good, 0), kInvalidParameter);
    EXPECT_EQ(convert(&good, sizeof good - 1), kInvalidParameter);
    EXPECT_EQ(convert(&good, sizeof good, sizeof good - 1), kInvalidParameter);
    EXPECT_EQ(convert(&good, sizeof good, 0), kInvalidParameter);
    EXPECT_EQ(convert(&good, sizeof good, sizeof good, 2), kInvalidParameter);
    expect_moved(0);
    EXPECT_EQ(convert(&good, sizeof good), kSuccess);
}

TEST_F(EfiRuntime, OtherServicesSayThatTheyAreNotThere)
{
    using Service = __attribute__((ms_abi)) u64 (*)();
    EXPECT_EQ(reinterpret_cast<Service>(at(efi_unsupported))(), kUnsupported);
}

// With ports it would be an OUT, which the boots of Linux show.
TEST_F(EfiRuntime, ResetSystemComesBackWhereTheMachineHasNoPort)
{
    using Service = __attribute__((ms_abi)) void (*)(u32, u64, u64, const void*);
    for (const u32 type : {0u, 1u, 2u, 3u})
        reinterpret_cast<Service>(at(efi_reset_system))(type, 0, 0, nullptr);
}

TEST_F(EfiRuntime, TablesAreSealed)
{
    reinterpret_cast<void (*)()>(at(efi_seal))();
    expect_sealed(0, kSystemTableSize);
    expect_sealed(kSystemTableSize, kServicesEnd - kSystemTableSize);
}

} // namespace
