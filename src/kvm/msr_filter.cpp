// SPDX-License-Identifier: Apache-2.0
// The first range that has the MSR decides, else the default.
#include "kvm/msr_filter.h"

#include <algorithm>
#include <mutex>

namespace seamless::kvm {

using namespace spec::kvm;

Result<std::size_t, Errno> MsrFilter::bitmap_bytes(const kvm_msr_filter_range& range)
{
    if (range.nmsrs == 0)
        return std::size_t{0}; // not in use
    const std::size_t bytes = (std::size_t{range.nmsrs} + 63) / 64 * 8;
    const bool known = range.flags != 0 && !(range.flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE));
    if (!known || bytes > KVM_MSR_FILTER_MAX_BITMAP_SIZE)
        return fail(Errno{EINVAL});
    return bytes;
}

Result<void, Errno> MsrFilter::check(const kvm_msr_filter& filter)
{
    if (filter.flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
        return fail(Errno{EINVAL});
    const bool empty = std::all_of(std::begin(filter.ranges), std::end(filter.ranges),
                                   [](const kvm_msr_filter_range& r) { return r.nmsrs == 0; });
    if (empty && (filter.flags & KVM_MSR_FILTER_DEFAULT_DENY))
        return fail(Errno{EINVAL});
    return {};
}

Result<void, Errno> MsrFilter::set(const kvm_msr_filter& filter, Bitmaps bitmaps)
{
    TRY(check(filter));
    std::vector<Range> ranges;
    for (std::size_t i = 0; i < std::size(filter.ranges); ++i) {
        const kvm_msr_filter_range& r = filter.ranges[i];
        if (r.nmsrs == 0)
            continue;
        if (bitmaps[i].size() != TRY(bitmap_bytes(r)))
            return fail(Errno{EINVAL});
        ranges.push_back(
            {.flags = r.flags, .base = r.base, .count = r.nmsrs, .bitmap = std::move(bitmaps[i])});
    }
    const std::unique_lock lock(mutex_);
    default_allow_ = !(filter.flags & KVM_MSR_FILTER_DEFAULT_DENY);
    ranges_ = std::move(ranges);
    in_use_ = !ranges_.empty();
    return {};
}

bool MsrFilter::allows(u32 index, u32 access) const
{
    constexpr u32 kFirstX2apic = 0x800, kLastX2apic = 0x8ff;
    if (!in_use_.load() || (index >= kFirstX2apic && index <= kLastX2apic))
        return true;
    const std::shared_lock lock(mutex_);
    const auto found = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) {
        const u32 end = r.base + r.count; // one that wraps has nothing in it, as in KVM
        return index >= r.base && index < end && (r.flags & access);
    });
    if (found == ranges_.end())
        return default_allow_;
    const u32 n = index - found->base;
    return test(found->bitmap[n / 8], n % 8);
}

} // namespace seamless::kvm
