// SPDX-License-Identifier: Apache-2.0
// The layout of guest-physical memory.
#include "vmm/memory_map.h"

#include <algorithm>
#include <fmt/format.h>

#include "vmm/tdvf.h"

namespace seamless::vmm {

bool MemoryMap::in_ram(const MemoryRange& range) const
{
    return std::any_of(ram.begin(), ram.end(), [&](const MemoryRange& r) { return r.contains(range); });
}

bool MemoryMap::backed(const MemoryRange& range) const { return firmware.contains(range) || in_ram(range); }

Result<void, Message> MemoryMap::check_mmio(const MemoryRange& range) const
{
    const auto refuse = [&](std::string_view why) {
        return fail(Message{fmt::format("a device at {:#x} (size {:#x}) {}", range.start, range.size, why)});
    };
    if (range.size == 0 || range.end() < range.start || range.end() > bit(kAddressBits))
        return refuse("does not fit in the guest's address space");
    if (std::any_of(ram.begin(), ram.end(), [&](const MemoryRange& r) { return r.overlaps(range); }))
        return refuse("overlaps RAM");
    if (firmware.overlaps(range))
        return refuse("overlaps the firmware");
    if (kInterruptControllers.overlaps(range))
        return refuse("overlaps the interrupt controllers");
    if (kVirtio.overlaps(range))
        return refuse("overlaps the virtio devices");
    return {};
}

Result<MemoryMap, Message> make_memory_map(u64 memory, u64 firmware_size)
{
    if (memory < MemoryMap::kMinMemory || memory > MemoryMap::kMaxMemory || (memory & base::kPageMask) != 0)
        return fail(Message{
            fmt::format("--memory: {} bytes; it must be a multiple of 4 KiB between {} MiB and {} GiB",
                        memory, MemoryMap::kMinMemory >> 20, MemoryMap::kMaxMemory >> 30)});
    MemoryMap map;
    const u64 low = std::min(memory, MemoryMap::kLowRamEnd);
    map.ram.push_back({0, low});
    if (memory > low)
        map.ram.push_back({MemoryMap::kHighRamStart, memory - low});
    map.firmware = {kFirmwareEnd - firmware_size, firmware_size};
    return map;
}

} // namespace seamless::vmm
