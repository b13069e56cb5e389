// SPDX-License-Identifier: Apache-2.0
// Dispatch of bus accesses by address range.
#include "devices/bus.h"

#include <algorithm>
#include <fmt/format.h>

namespace seamless::devices {

Result<void, Message> Bus::add(std::string_view name, u64 start, u64 size, BusDevice& device)
{
    if (size == 0 || start + size < start)
        return fail(Message{fmt::format("{}: {:#x} bytes at {:#x} are no address range", name, size, start)});
    const auto after = std::find_if(ranges_.begin(), ranges_.end(),
                                    [=](const Range& r) { return r.start + r.size > start; });
    if (after != ranges_.end() && after->start < start + size)
        return fail(Message{fmt::format("{} at {:#x} (size {:#x}) overlaps {} at {:#x} (size {:#x})", name,
                                        start, size, after->name, after->start, after->size)});
    ranges_.insert(after, Range{start, size, &device, std::string(name)});
    return {};
}

const Bus::Range* Bus::find(u64 address, u64 size) const
{
    const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                        [](u64 a, const Range& r) { return a < r.start; });
    if (after == ranges_.begin())
        return nullptr;
    const Range& range = *std::prev(after);
    const u64 offset = address - range.start;
    return offset < range.size && size <= range.size - offset ? &range : nullptr;
}

bool Bus::read(u64 address, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0xff});
    const Range* range = find(address, data.size());
    if (range == nullptr)
        return false;
    range->device->read(address - range->start, data);
    return true;
}

bool Bus::write(u64 address, std::span<const u8> data)
{
    const Range* range = find(address, data.size());
    if (range == nullptr)
        return false;
    range->device->write(address - range->start, data);
    return true;
}

std::string_view Bus::owner(u64 address) const
{
    const Range* range = find(address, 1);
    return range == nullptr ? std::string_view{} : std::string_view{range->name};
}

} // namespace seamless::devices
