// SPDX-License-Identifier: Apache-2.0
// Guest memory as the DMA of devices sees it.
#pragma once

#include <cstring>
#include <span>

#include "base/bits.h"

namespace seamless::devices {

class DmaMemory {
  public:
    virtual ~DmaMemory() = default;

    // The bytes at [address, address + size), for as long as the machine lives; nullptr if some of the range
    // is no memory. The guest may change them at any moment.
    [[nodiscard]] virtual u8* map(u64 address, u64 size) = 0;

    // False: some of the range is no memory, and nothing was copied.
    [[nodiscard]] bool read(u64 address, std::span<u8> to)
    {
        const u8* from = map(address, to.size());
        if (from != nullptr)
            std::memcpy(to.data(), from, to.size());
        return from != nullptr;
    }
    [[nodiscard]] bool write(u64 address, std::span<const u8> from)
    {
        u8* to = map(address, from.size());
        if (to != nullptr)
            std::memcpy(to, from.data(), from.size());
        return to != nullptr;
    }
    [[nodiscard]] bool fill_zero(u64 address, u64 size)
    {
        u8* to = map(address, size);
        if (to != nullptr)
            std::memset(to, 0, size);
        return to != nullptr;
    }
};

} // namespace seamless::devices
