// SPDX-License-Identifier: Apache-2.0
// Where things are in guest-physical memory: RAM from 0, a hole below 4 GiB with MMIO and the firmware at its
// top, the rest of RAM above 4 GiB.
#pragma once

#include <vector>

#include "base/address.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::vmm {

struct MemoryRange {
    u64 start = 0;
    u64 size = 0;

    [[nodiscard]] u64 end() const { return start + size; }
    [[nodiscard]] bool contains(const MemoryRange& r) const
    {
        return r.start >= start && r.size <= size && r.start - start <= size - r.size;
    }
    [[nodiscard]] bool overlaps(const MemoryRange& r) const { return start < r.end() && r.start < end(); }
    friend bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

struct MemoryMap {
    static constexpr u64 kLowRamEnd = u64{3} << 30;
    static constexpr u64 kHighRamStart = u64{4} << 30;
    static constexpr u64 kMinMemory = u64{1} << 20;
    static constexpr u64 kMaxMemory = u64{256} << 30;
    static constexpr u64 kAddressBits = 47; // bit 47 is the shared bit of a TD with 48-bit guest addresses
    // Local APIC and IOAPIC.
    static constexpr MemoryRange kInterruptControllers{0xfec00000, 0x300000};
    // virtio-mmio transports, and what lies beside them in their page.
    static constexpr MemoryRange kVirtio{0xfeb00000, 0x1000};

    std::vector<MemoryRange> ram;
    MemoryRange firmware;

    [[nodiscard]] bool in_ram(const MemoryRange& range) const;
    // RAM or firmware: what has memory behind it.
    [[nodiscard]] bool backed(const MemoryRange& range) const;
    // May a device's registers be there?
    [[nodiscard]] Result<void, Message> check_mmio(const MemoryRange& range) const;
};

[[nodiscard]] Result<MemoryMap, Message> make_memory_map(u64 memory, u64 firmware_size);

} // namespace seamless::vmm
