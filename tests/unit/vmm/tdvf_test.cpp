// SPDX-License-Identifier: Apache-2.0
// The TDVF parser: a good image, and every way we know to spoil one.
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <iterator>
#include <random>

#include "unit/vmm/firmware_image.h"

namespace seamless::vmm::test {
namespace {

using B = ImageBuilder;

TEST(Tdvf, GoodImageGivesItsSectionsInOrder)
{
    B b;
    const auto parsed = parse_tdvf(b.build());
    ASSERT_TRUE(parsed.ok()) << parsed.error().text;
    const auto& sections = parsed.value().sections;
    ASSERT_EQ(sections.size(), 4u);
    EXPECT_EQ(sections[0].type, TdvfType::BFV);
    EXPECT_TRUE(sections[0].measured());
    EXPECT_EQ(sections[1].raw_size, 0x1800u);
    EXPECT_FALSE(sections[1].measured());
    EXPECT_EQ(sections[2].address, 0x810000u);
    ASSERT_NE(parsed.value().hob(), nullptr);
    EXPECT_EQ(parsed.value().hob()->address, 0x809000u);
}

TEST(Tdvf, DescriptorIsFoundByOffsetWithoutAGuidTable)
{
    B b;
    b.build();
    b.put(B::kSize - 0x30, u64{0});
    b.put(B::kSize - 0x20, static_cast<u32>(B::kDescriptor));
    EXPECT_TRUE(parse_tdvf(b.bytes).ok());
    b.put(B::kSize - 0x20, static_cast<u32>(B::kSize - 15));
    EXPECT_FALSE(parse_tdvf(b.bytes).ok());
}

TEST(Tdvf, GuidTableIsWalkedPastOtherEntries)
{
    B b;
    b.build();
    // Another entry between the footer and the TDX one.
    std::memmove(b.bytes.data() + B::kEntries - 20, b.bytes.data() + B::kEntries, 22);
    b.put(B::kEntries + 2, u16{0x1234});
    b.put(B::kEntries + 4, u16{20});
    b.put_guid(B::kEntries + 6, 1, 2, 3, {4, 5, 6, 7, 8, 9, 10, 11});
    b.put(B::kSize - 0x32, u16{22 + 20 + 18});
    EXPECT_TRUE(parse_tdvf(b.bytes).ok());
}

TEST(Tdvf, SectionPageTakesTheImageAndPadsWithZeros)
{
    B b;
    b.build();
    std::array<u8, 4096> page{};
    section_page(b.bytes, b.sections[1], 1, page);
    EXPECT_TRUE(std::equal(page.begin(), page.begin() + 0x800, b.bytes.begin() + 0x1000));
    EXPECT_TRUE(std::all_of(page.begin() + 0x800, page.end(), [](u8 x) { return x == 0; }));
    page.fill(1);
    section_page(b.bytes, b.sections[2], 0, page);
    EXPECT_TRUE(std::all_of(page.begin(), page.end(), [](u8 x) { return x == 0; }));
}

struct Spoiled {
    const char* name;
    std::function<void(B&)> spoil; // after build()
    const char* says;              // part of the message
};

void section(B& b, u32 index, const std::function<void(TdvfSection&)>& edit)
{
    edit(b.sections[index]);
    b.build();
}

const Spoiled kSpoiled[] = {
    {"TruncatedToAPage", [](B& b) { b.bytes.resize(0x1000); }, "metadata"},
    {"Empty", [](B& b) { b.bytes.clear(); }, "0 bytes"},
    {"UnalignedSize", [](B& b) { b.bytes.resize(B::kSize - 1); }, "multiple of 4 KiB"},
    {"TooLarge", [](B& b) { b.bytes.resize(kMaxFirmware + 0x1000); }, "16 MiB"},
    {"TableLongerThanTheImage", [](B& b) { b.put(B::kSize - 0x32, u16{0xffff}); }, "impossible length"},
    {"TableShorterThanItsFooter", [](B& b) { b.put(B::kSize - 0x32, u16{17}); }, "impossible length"},
    {"EntryOfLengthZero", [](B& b) { b.put(B::kEntries + 4, u16{0}); }, "impossible length"},
    {"EntryLongerThanTheTable", [](B& b) { b.put(B::kEntries + 4, u16{23}); }, "impossible length"},
    {"EntryWithoutData", [](B& b) { b.put(B::kEntries + 4, u16{18}); }, "bytes of data"},
    {"NoTdxEntry", [](B& b) { b.put(B::kEntries + 6, u8{0}); }, "not built for TDs"},
    {"DescriptorBeforeTheImage", [](B& b) { b.put(B::kEntries, static_cast<u32>(B::kSize + 1)); },
     "descriptor"},
    {"DescriptorAtTheEnd", [](B& b) { b.put(B::kEntries, u32{0}); }, "descriptor"},
    {"WrongSignature", [](B& b) { b.put(B::kDescriptor, u8{'X'}); }, "signature"},
    {"WrongVersion", [](B& b) { b.put(B::kDescriptor + 8, u32{2}); }, "version"},
    {"NoSections", [](B& b) { b.put(B::kDescriptor + 12, u32{0}); }, "0 sections"},
    {"CountThatOverflowsTheLength", [](B& b) { b.put(B::kDescriptor + 12, u32{0x08000004}); }, "sections in"},
    {"LengthThatDisagrees", [](B& b) { b.put(B::kDescriptor + 4, u32{16}); }, "sections in"},
    {"DescriptorPastTheEnd",
     [](B& b) {
         std::memcpy(b.bytes.data() + B::kSize - 0x10, b.bytes.data() + B::kDescriptor, 16);
         b.put(B::kEntries, u32{0x10});
     },
     "passes the end"},
    {"UnknownType", [](B& b) { b.put(B::kDescriptor + 16 + 24, u32{9}); }, "unknown type 9"},
    {"UnknownAttribute", [](B& b) { section(b, 0, [](auto& s) { s.attributes = 5; }); },
     "unknown attributes"},
    {"DataPastTheImage", [](B& b) { section(b, 0, [](auto& s) { s.data_offset = 0x8001; }); },
     "section 0 (BFV) takes"},
    {"DataOffsetNearTheTop", [](B& b) { section(b, 0, [](auto& s) { s.data_offset = 0xffffffff; }); },
     "takes"},
    {"DataLargerThanMemory", [](B& b) { section(b, 0, [](auto& s) { s.size = 0x7000; }); },
     "bytes of memory"},
    {"BfvWithoutData", [](B& b) { section(b, 0, [](auto& s) { s.raw_size = 0; }); }, "no data"},
    {"TempMemWithData", [](B& b) { section(b, 2, [](auto& s) { s.raw_size = 1; }); }, "this type has none"},
    {"MisalignedAddress", [](B& b) { section(b, 2, [](auto& s) { s.address += 0x800; }); }, "not aligned"},
    {"MisalignedSize", [](B& b) { section(b, 2, [](auto& s) { s.size -= 1; }); }, "not aligned"},
    {"AddressOverflow",
     [](B& b) { section(b, 2, [](auto& s) { s.address = 0xfffffffffffff000, s.size = 0x2000; }); },
     "passes the end"},
    {"HugeSize",
     [](B& b) { section(b, 2, [](auto& s) { s.address = u64{1} << 40, s.size = u64{1} << 50; }); }, "exceed"},
    {"Overlap", [](B& b) { section(b, 2, [](auto& s) { s.address = 0x80a000; }); }, "overlaps"},
    {"AugOnTempMem", [](B& b) { section(b, 2, [](auto& s) { s.attributes = 2; }); }, "PAGE.AUG"},
    {"MeasuredPermMem",
     [](B& b) { section(b, 2, [](auto& s) { s.type = TdvfType::PermMem, s.attributes = 3; }); }, "measured"},
    {"TwoHobs", [](B& b) { section(b, 2, [](auto& s) { s.type = TdvfType::TD_HOB; }); }, "2 TD_HOB"},
    {"ResetVectorMissing", [](B& b) { section(b, 0, [](auto& s) { s.address -= 0x100000; }); },
     "reset vector"},
};

class SpoiledTdvf : public testing::TestWithParam<Spoiled> {};

TEST_P(SpoiledTdvf, IsRefusedWithOneLineThatSaysWhat)
{
    B b;
    b.build();
    GetParam().spoil(b);
    const auto parsed = parse_tdvf(b.bytes);
    ASSERT_FALSE(parsed.ok());
    EXPECT_NE(parsed.error().text.find(GetParam().says), std::string::npos) << parsed.error().text;
    EXPECT_EQ(parsed.error().text.find('\n'), std::string::npos);
    EXPECT_EQ(parsed.error().text.rfind("firmware: ", 0), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, SpoiledTdvf, testing::ValuesIn(kSpoiled),
                         [](const auto& i) { return std::string(i.param.name); });

// Random damage to the metadata must neither crash (the sanitizers watch) nor pass with a section outside the
// image.
TEST(Tdvf, RandomDamageNeverLeadsOutsideTheImage)
{
    std::mt19937_64 random(20240611);
    B b;
    const std::vector<u8> good = b.build();
    for (int round = 0; round < 4000; ++round) {
        std::vector<u8> image = good;
        for (int k = 0; k < 3; ++k) {
            const u64 at = random() % 2 ? B::kDescriptor + random() % 144 : B::kSize - 1 - random() % 0x60;
            image[at] = static_cast<u8>(random());
        }
        const auto parsed = parse_tdvf(image);
        if (!parsed.ok())
            continue;
        std::array<u8, 4096> page{};
        for (const TdvfSection& s : parsed.value().sections) {
            EXPECT_LE(u64{s.raw_size} == 0 ? 0 : u64{s.data_offset} + s.raw_size, image.size());
            for (u64 i = 0; s.added() && i < s.pages() && i < 8; ++i)
                section_page(image, s, i, page);
        }
    }
}

std::vector<u8> file(const char* path)
{
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Tdvf, DebianOvmfParses)
{
    std::vector<u8> image = file("/usr/share/ovmf/OVMF.fd");
    if (image.empty())
        image = file("/usr/share/OVMF/OVMF.fd");
    if (image.empty())
        GTEST_SKIP() << "the ovmf package is not installed";
    const auto parsed = parse_tdvf(image);
    ASSERT_TRUE(parsed.ok()) << parsed.error().text;
    ASSERT_NE(parsed.value().hob(), nullptr);
    EXPECT_EQ(parsed.value().sections[0].type, TdvfType::BFV);
    EXPECT_EQ(parsed.value().sections[0].end(), kFirmwareEnd);
}

} // namespace
} // namespace seamless::vmm::test
