// SPDX-License-Identifier: Apache-2.0
// Makes TDVF images for tests: sections, descriptor and GUID table, each of which a test may spoil.
#pragma once

#include <cstring>
#include <vector>

#include "base/bits.h"
#include "vmm/tdvf.h"

namespace seamless::vmm::test {

struct ImageBuilder {
    static constexpr u64 kSize = 0x10000;
    static constexpr u64 kBase = kFirmwareEnd - kSize;
    static constexpr u64 kDescriptor = 0xf000;
    static constexpr u64 kEntries = kSize - 0x32 - 0x16; // the TDX entry lies below the footer entry

    std::vector<u8> bytes = std::vector<u8>(kSize);
    std::vector<TdvfSection> sections = {
        {.data_offset = 0x8000,
         .raw_size = 0x8000,
         .address = kBase + 0x8000,
         .size = 0x8000,
         .type = TdvfType::BFV,
         .attributes = 1},
        {.data_offset = 0,
         .raw_size = 0x1800,
         .address = kBase,
         .size = 0x2000,
         .type = TdvfType::CFV,
         .attributes = 0},
        {.address = 0x810000, .size = 0x3000, .type = TdvfType::TempMem},
        {.address = 0x809000, .size = 0x2000, .type = TdvfType::TD_HOB},
    };

    ImageBuilder()
    {
        for (u64 i = 0; i < 0xf000; ++i)
            bytes[i] = static_cast<u8>(i * 7 + (i >> 8));
    }

    template <typename T>
    void put(u64 offset, T value)
    {
        std::memcpy(bytes.data() + offset, &value, sizeof(T));
    }

    void put_guid(u64 offset, u32 a, u16 b, u16 c, std::initializer_list<u8> rest)
    {
        put(offset, a);
        put(offset + 4, b);
        put(offset + 6, c);
        std::copy(rest.begin(), rest.end(), bytes.begin() + static_cast<long>(offset + 8));
    }

    void put_section(u64 offset, const TdvfSection& s)
    {
        put(offset, s.data_offset);
        put(offset + 4, s.raw_size);
        put(offset + 8, s.address);
        put(offset + 16, s.size);
        put(offset + 24, static_cast<u32>(s.type));
        put(offset + 28, s.attributes);
    }

    // Writes descriptor and GUID table; what a test puts after that is a fault of the image.
    std::vector<u8>& build()
    {
        const auto count = static_cast<u32>(sections.size());
        put(kDescriptor, u32{0x46564454});
        put(kDescriptor + 4, 16 + 32 * count);
        put(kDescriptor + 8, u32{1});
        put(kDescriptor + 12, count);
        for (u32 i = 0; i < count; ++i)
            put_section(kDescriptor + 16 + 32 * i, sections[i]);
        put(kEntries, static_cast<u32>(kSize - kDescriptor));
        put(kEntries + 4, u16{22});
        put_guid(kEntries + 6, 0xe47a6535, 0x984a, 0x4798, {0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2});
        put(kSize - 0x32, u16{22 + 18});
        put_guid(kSize - 0x30, 0x96b582de, 0x1fb2, 0x45f7, {0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d});
        return bytes;
    }
};

} // namespace seamless::vmm::test
