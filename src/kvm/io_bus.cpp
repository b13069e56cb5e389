// SPDX-License-Identifier: Apache-2.0
// Registration keeps a bus sorted, so that lookups stop early.
#include "kvm/io_bus.h"

#include <algorithm>
#include <mutex>

namespace seamless::kvm {

Result<void, Errno> IoBus::add(u64 addr, unsigned len, IoDevice& device)
{
    constexpr long kMaxDevices = 1000;
    const std::unique_lock lock(mutex_);
    const auto counted = std::count_if(ranges_.begin(), ranges_.end(),
                                       [](const Range& r) { return !r.device->is_ioeventfd(); });
    if (!device.is_ioeventfd() && counted >= kMaxDevices)
        return fail(Errno{ENOSPC});
    const auto before = [](const Range& a, const Range& b) {
        return a.addr != b.addr ? a.addr < b.addr : a.len < b.len;
    };
    const Range range{addr, len, &device};
    ranges_.insert(std::upper_bound(ranges_.begin(), ranges_.end(), range, before), range);
    empty_.store(false);
    return {};
}

void IoBus::remove(const IoDevice& device)
{
    const std::unique_lock lock(mutex_);
    std::erase_if(ranges_, [&](const Range& r) { return r.device == &device; });
    empty_.store(ranges_.empty());
}

template <typename Access>
bool IoBus::offer(u64 addr, unsigned len, Access access)
{
    if (empty_.load())
        return false;
    const std::shared_lock lock(mutex_);
    for (const Range& range : ranges_) {
        if (range.addr > addr)
            return false;
        const u64 offset = addr - range.addr;
        const bool inside = range.len == 0 ? offset == 0 : offset < range.len && len <= range.len - offset;
        if (inside && access(*range.device))
            return true;
    }
    return false;
}

bool IoBus::read(u64 addr, unsigned len, void* data)
{
    return offer(addr, len, [&](IoDevice& d) { return d.read(addr, len, data); });
}

bool IoBus::write(u64 addr, unsigned len, const void* data)
{
    return offer(addr, len, [&](IoDevice& d) { return d.write(addr, len, data); });
}

} // namespace seamless::kvm
