// SPDX-License-Identifier: Apache-2.0
// Values on a bus: at most eight bytes, lowest first.
#pragma once

#include <span>

#include "base/bits.h"

namespace seamless::devices {

[[nodiscard]] inline u64 load_le(std::span<const u8> data)
{
    u64 value = 0;
    for (std::size_t i = 0; i < data.size() && i < 8; ++i)
        value |= u64{data[i]} << (i * 8);
    return value;
}

// Bytes past the eighth become zero.
inline void store_le(std::span<u8> data, u64 value)
{
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = i < 8 ? static_cast<u8>(value >> (i * 8)) : u8{0};
}

} // namespace seamless::devices
