// SPDX-License-Identifier: Apache-2.0
// Finds and checks the TDVF metadata of a firmware image. Every number comes from the image, so every sum is
// checked.
#include "vmm/tdvf.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

namespace seamless::vmm {
namespace {

using base::kPageMask;
using base::kPageSize;
using Guid = std::array<u8, 16>;
using Image = std::span<const u8>;

// The first three fields of a GUID are little-endian in the image.
constexpr Guid kFooterGuid = {0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45,
                              0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d};
constexpr Guid kMetadataGuid = {0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47,
                                0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2};

constexpr u64 kFooterFromEnd = 0x30;   // where the footer's GUID starts
constexpr u64 kTableEndFromEnd = 0x20; // what follows is the reset vector
constexpr u64 kEntryHeader = 2 + 16;   // u16 length, GUID; the entry's data lies before them
constexpr u64 kDescriptorHeader = 16;
constexpr u64 kSectionSize = 32;
constexpr u32 kSignature = 0x46564454; // "TDVF"
constexpr u32 kMaxSections = 64;
constexpr u64 kMaxAdded = u64{1} << 30; // pages the host adds before the start, in bytes
constexpr u64 kResetVector = 0xfffffff0;

struct TypeRow {
    TdvfType type;
    std::string_view name;
    bool added;
    bool in_memory; // it describes guest memory
    enum class Raw : u8 { any, required, forbidden } raw;
};

// clang-format off
constexpr TypeRow kTypes[] = {
    {TdvfType::BFV,          "BFV",          true,  true,  TypeRow::Raw::required},
    {TdvfType::CFV,          "CFV",          true,  true,  TypeRow::Raw::required},
    {TdvfType::TD_HOB,       "TD_HOB",       true,  true,  TypeRow::Raw::forbidden},
    {TdvfType::TempMem,      "TempMem",      true,  true,  TypeRow::Raw::forbidden},
    {TdvfType::PermMem,      "PermMem",      false, true,  TypeRow::Raw::forbidden},
    {TdvfType::Payload,      "Payload",      true,  true,  TypeRow::Raw::any},
    {TdvfType::PayloadParam, "PayloadParam", true,  true,  TypeRow::Raw::any},
    {TdvfType::TD_INFO,      "TD_INFO",      false, false, TypeRow::Raw::any},
    {TdvfType::TD_PARAMS,    "TD_PARAMS",    false, false, TypeRow::Raw::any},
};
// clang-format on

const TypeRow& row_of(TdvfType type) { return kTypes[static_cast<u32>(type)]; }

// The caller has checked that offset + sizeof(T) lies in the image.
template <typename T>
T load(Image image, u64 offset)
{
    T value;
    std::memcpy(&value, image.data() + offset, sizeof(T));
    return value;
}

bool guid_at(Image image, u64 offset, const Guid& guid)
{
    return std::memcmp(image.data() + offset, guid.data(), guid.size()) == 0;
}

auto refuse(std::string text) { return fail(Message{"firmware: " + std::move(text)}); }

Result<u64, Message> offset_from_end(Image image, u64 back)
{
    if (back > image.size() || back < kDescriptorHeader)
        return refuse(fmt::format(
            "the GUID table puts the TDVF descriptor {:#x} bytes before the end of an image of {:#x} bytes",
            back, image.size()));
    return image.size() - back;
}

// Walks the GUID table backwards, from the footer, for the entry that locates the descriptor.
Result<u64, Message> locate_by_guid_table(Image image)
{
    const u64 table_end = image.size() - kTableEndFromEnd;
    const u64 length = load<u16>(image, image.size() - kFooterFromEnd - 2);
    if (length < kEntryHeader || length > table_end)
        return refuse(fmt::format("the GUID table at {:#x} has an impossible length of {:#x} bytes",
                                  table_end, length));
    const u64 table = table_end - length;
    u64 entry_end = table_end - kEntryHeader;
    while (entry_end - table >= kEntryHeader) {
        const u64 entry_length = load<u16>(image, entry_end - kEntryHeader);
        if (entry_length < kEntryHeader || entry_length > entry_end - table)
            return refuse(
                fmt::format("the GUID table entry that ends at {:#x} has an impossible length of {:#x} bytes",
                            entry_end, entry_length));
        if (guid_at(image, entry_end - sizeof(Guid), kMetadataGuid)) {
            if (entry_length != kEntryHeader + 4)
                return refuse(fmt::format("the GUID table entry for TDX at {:#x} has {} bytes of data, not 4",
                                          entry_end - entry_length, entry_length - kEntryHeader));
            return offset_from_end(image, load<u32>(image, entry_end - entry_length));
        }
        entry_end -= entry_length;
    }
    return refuse("the GUID table has no entry for TDX metadata: this firmware was not built for TDs");
}

// Images without a GUID table keep the descriptor's file offset just below the reset vector.
Result<u64, Message> locate_descriptor(Image image)
{
    if (guid_at(image, image.size() - kFooterFromEnd, kFooterGuid))
        return locate_by_guid_table(image);
    const u64 offset = load<u32>(image, image.size() - kTableEndFromEnd);
    if (offset == 0 || offset > image.size() - kDescriptorHeader)
        return refuse("no TDVF metadata: there is neither a GUID table nor a descriptor offset at the end of "
                      "the image");
    return offset;
}

Result<void, Message> check_data(const TdvfSection& s, const TypeRow& row, std::string_view where,
                                 u64 image_size)
{
    if (s.raw_size != 0 && (s.data_offset > image_size || s.raw_size > image_size - s.data_offset))
        return refuse(fmt::format("{} takes {:#x} bytes at {:#x} of an image of {:#x} bytes", where,
                                  s.raw_size, s.data_offset, image_size));
    if (row.raw == TypeRow::Raw::required && s.raw_size == 0)
        return refuse(fmt::format("{} has no data in the image", where));
    if (row.raw == TypeRow::Raw::forbidden && s.raw_size != 0)
        return refuse(
            fmt::format("{} has {:#x} bytes of data in the image; this type has none", where, s.raw_size));
    if (row.in_memory && s.raw_size > s.size)
        return refuse(
            fmt::format("{} has {:#x} bytes of data for {:#x} bytes of memory", where, s.raw_size, s.size));
    return {};
}

Result<void, Message> check_section(const TdvfSection& s, std::string_view where, u64 image_size)
{
    const TypeRow& row = row_of(s.type);
    if ((s.attributes & ~(TdvfSection::MR_EXTEND | TdvfSection::PAGE_AUG)) != 0)
        return refuse(fmt::format("{} has unknown attributes {:#x}", where, s.attributes));
    TRY(check_data(s, row, where, image_size));
    if (!row.in_memory)
        return {};
    if ((s.address & kPageMask) != 0 || (s.size & kPageMask) != 0)
        return refuse(
            fmt::format("{} at {:#x} (size {:#x}) is not aligned to 4 KiB", where, s.address, s.size));
    if (s.address + s.size < s.address)
        return refuse(fmt::format("{} at {:#x} (size {:#x}) passes the end of the address space", where,
                                  s.address, s.size));
    if ((s.type == TdvfType::PermMem) != ((s.attributes & TdvfSection::PAGE_AUG) != 0))
        return refuse(fmt::format("{} has attributes {:#x}: PAGE.AUG belongs to PermMem and to nothing else",
                                  where, s.attributes));
    if (!row.added && (s.attributes & TdvfSection::MR_EXTEND) != 0)
        return refuse(fmt::format("{} is to be measured but is not added before the start", where));
    return {};
}

Result<TdvfSection, Message> read_section(Image image, u64 offset, u32 number)
{
    const u32 type = load<u32>(image, offset + 24);
    if (type >= std::size(kTypes))
        return refuse(fmt::format("section {} has unknown type {}", number, type));
    const TdvfSection section{.data_offset = load<u32>(image, offset),
                              .raw_size = load<u32>(image, offset + 4),
                              .address = load<u64>(image, offset + 8),
                              .size = load<u64>(image, offset + 16),
                              .type = static_cast<TdvfType>(type),
                              .attributes = load<u32>(image, offset + 28)};
    TRY(check_section(section, fmt::format("section {} ({})", number, name_of(section.type)), image.size()));
    return section;
}

Result<void, Message> check_overlaps(const std::vector<TdvfSection>& sections)
{
    for (std::size_t i = 0; i < sections.size(); ++i)
        for (std::size_t k = 0; k < i; ++k) {
            const TdvfSection &a = sections[k], &b = sections[i];
            if (row_of(a.type).in_memory && row_of(b.type).in_memory && a.address < b.end() &&
                b.address < a.end())
                return refuse(fmt::format(
                    "section {} ({} at {:#x}, size {:#x}) overlaps section {} ({} at {:#x}, size {:#x})", i,
                    name_of(b.type), b.address, b.size, k, name_of(a.type), a.address, a.size));
        }
    return {};
}

Result<void, Message> check_whole(const std::vector<TdvfSection>& sections)
{
    TRY(check_overlaps(sections));
    u64 added = 0;
    u64 hobs = 0;
    bool reset = false;
    for (const TdvfSection& s : sections) {
        hobs += s.type == TdvfType::TD_HOB;
        reset |= s.type == TdvfType::BFV && s.address <= kResetVector && s.end() >= kFirmwareEnd;
        if (s.added() && (s.size > kMaxAdded || (added += s.size) > kMaxAdded))
            return refuse(fmt::format("the sections to add before the start exceed {} MiB", kMaxAdded >> 20));
    }
    if (hobs > 1)
        return refuse(fmt::format("{} TD_HOB sections; there may be one", hobs));
    if (!reset)
        return refuse("no BFV section contains the reset vector at 0xfffffff0");
    return {};
}

} // namespace

std::string_view name_of(TdvfType type) { return row_of(type).name; }

bool TdvfSection::added() const { return row_of(type).added && size != 0; }

const TdvfSection* Tdvf::hob() const
{
    const auto found = std::find_if(sections.begin(), sections.end(),
                                    [](const TdvfSection& s) { return s.type == TdvfType::TD_HOB; });
    return found == sections.end() ? nullptr : &*found;
}

Result<Tdvf, Message> parse_tdvf(Image image)
{
    if (image.size() < kPageSize || (image.size() & kPageMask) != 0)
        return refuse(fmt::format("{} bytes are no firmware image: the size must be a multiple of 4 KiB",
                                  image.size()));
    if (image.size() > kMaxFirmware)
        return refuse(
            fmt::format("the image has {:#x} bytes, more than the {} MiB below 4 GiB that are kept for it",
                        image.size(), kMaxFirmware >> 20));
    const u64 at = TRY(locate_descriptor(image));
    const u32 signature = load<u32>(image, at), length = load<u32>(image, at + 4);
    const u32 version = load<u32>(image, at + 8), count = load<u32>(image, at + 12);
    if (signature != kSignature)
        return refuse(
            fmt::format("there is no TDVF descriptor at {:#x}: the signature is {:#x}", at, signature));
    if (version != 1)
        return refuse(
            fmt::format("the TDVF descriptor at {:#x} has version {}; version 1 is known", at, version));
    if (count == 0 || count > kMaxSections || length != kDescriptorHeader + count * kSectionSize)
        return refuse(
            fmt::format("the TDVF descriptor at {:#x} has {} sections in {} bytes", at, count, length));
    if (length > image.size() - at)
        return refuse(
            fmt::format("the TDVF descriptor at {:#x} (size {:#x}) passes the end of the image", at, length));
    Tdvf tdvf;
    for (u32 i = 0; i < count; ++i)
        tdvf.sections.push_back(TRY(read_section(image, at + kDescriptorHeader + i * kSectionSize, i)));
    TRY(check_whole(tdvf.sections));
    return tdvf;
}

void section_page(Image image, const TdvfSection& section, u64 index, std::span<u8, kPageSize> page)
{
    std::fill(page.begin(), page.end(), u8{0});
    const u64 start = index * kPageSize;
    if (start >= section.raw_size)
        return;
    const u64 bytes = std::min<u64>(kPageSize, section.raw_size - start);
    std::memcpy(page.data(), image.data() + section.data_offset + start, bytes);
}

} // namespace seamless::vmm
