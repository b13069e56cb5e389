// SPDX-License-Identifier: Apache-2.0
// A driver of fw_cfg, and the guest memory that it works with.
#pragma once

#include <vector>

#include "devices/fw_cfg.h"

namespace seamless::fuzz {

struct FwCfgMemory : devices::DmaMemory {
    // Not from 0, so that a small address is as wrong as a large one.
    static constexpr u64 kStart = 0x1000, kSize = 0x2000;
    std::vector<u8> bytes = std::vector<u8>(kSize, u8{0xcc});

    [[nodiscard]] static bool inside(u64 address, u64 size)
    {
        return address >= kStart && size <= kSize && address - kStart <= kSize - size;
    }
    u8* map(u64 address, u64 size) override
    {
        return inside(address, size) ? bytes.data() + (address - kStart) : nullptr;
    }
};

inline void put_be(u8* to, u64 value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; ++i)
        to[i] = static_cast<u8>(value >> ((bytes - 1 - i) * 8));
}

inline void select_by_port(devices::FwCfg& device, u16 key)
{
    const u8 data[] = {static_cast<u8>(key), static_cast<u8>(key >> 8)};
    device.write(0, data);
}

// One request for DMA, as it lies in memory.
struct FwCfgRequest {
    static constexpr u32 kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16;
    u32 control = 0, length = 0;
    u64 address = 0;

    void put(u8* to) const
    {
        put_be(to, control, 4);
        put_be(to + 4, length, 4);
        put_be(to + 8, address, 8);
    }
};

inline void start_dma(devices::FwCfg& device, u64 request)
{
    u8 data[8];
    put_be(data, request, sizeof data);
    device.write(4, data);
}

} // namespace seamless::fuzz
