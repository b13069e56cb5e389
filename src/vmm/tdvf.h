// SPDX-License-Identifier: Apache-2.0
// TDVF images: firmware that carries a table of sections telling the VMM what to add to a TD and what to
// measure. "Intel TDX Virtual Firmware Design Guide": "TDVF Metadata". The image is untrusted input.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::vmm {

// The image ends at 4 GiB; what is below this address is MMIO.
inline constexpr u64 kFirmwareEnd = u64{4} << 30;
inline constexpr u64 kMaxFirmware = u64{16} << 20;

enum class TdvfType : u32 { BFV, CFV, TD_HOB, TempMem, PermMem, Payload, PayloadParam, TD_INFO, TD_PARAMS };
[[nodiscard]] std::string_view name_of(TdvfType type);

struct TdvfSection {
    static constexpr u32 MR_EXTEND = 1, PAGE_AUG = 2;

    u32 data_offset = 0; // in the image
    u32 raw_size = 0;    // bytes taken from the image; the rest of the section is zero
    u64 address = 0;     // guest-physical
    u64 size = 0;
    TdvfType type = TdvfType::BFV;
    u32 attributes = 0;

    // The host adds its pages before the TD runs.
    [[nodiscard]] bool added() const;
    [[nodiscard]] bool measured() const { return added() && (attributes & MR_EXTEND) != 0; }
    [[nodiscard]] u64 pages() const { return size >> base::kPageShift; }
    [[nodiscard]] u64 end() const { return address + size; }
};

struct Tdvf {
    std::vector<TdvfSection> sections; // in the image's order, which is the order of measurement

    // The section for the hand-off blocks, or nullptr.
    [[nodiscard]] const TdvfSection* hob() const;
};

[[nodiscard]] Result<Tdvf, Message> parse_tdvf(std::span<const u8> image);

// Fills `page` with the bytes that `section` (of this image) has in its page `index`.
void section_page(std::span<const u8> image, const TdvfSection& section, u64 index,
                  std::span<u8, base::kPageSize> page);

} // namespace seamless::vmm
