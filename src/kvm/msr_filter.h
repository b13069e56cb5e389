// SPDX-License-Identifier: Apache-2.0
// KVM_X86_SET_MSR_FILTER: which MSRs a guest may access at all. MSRs of the x2APIC are never filtered.
#pragma once

#include <array>
#include <atomic>
#include <shared_mutex>
#include <vector>

#include "base/errno.h"
#include "base/result.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class MsrFilter {
  public:
    // The bitmaps of the ranges, copied from user space.
    using Bitmaps = std::array<std::vector<u8>, std::size(spec::kvm::kvm_msr_filter{}.ranges)>;
    // EINVAL: unknown flags, or nothing would be left to the guest. KVM looks at these before any bitmap.
    [[nodiscard]] static Result<void, Errno> check(const spec::kvm::kvm_msr_filter& filter);
    // Bytes of the bitmap that a range brings. EINVAL: too large, or flags that make no sense.
    [[nodiscard]] static Result<std::size_t, Errno>
    bitmap_bytes(const spec::kvm::kvm_msr_filter_range& range);
    [[nodiscard]] Result<void, Errno> set(const spec::kvm::kvm_msr_filter& filter, Bitmaps bitmaps);
    // `access`: KVM_MSR_FILTER_READ or KVM_MSR_FILTER_WRITE.
    [[nodiscard]] bool allows(u32 index, u32 access) const;

  private:
    struct Range {
        u32 flags, base, count;
        std::vector<u8> bitmap;
    };
    std::atomic<bool> in_use_{false};
    mutable std::shared_mutex mutex_;
    bool default_allow_ = true;
    std::vector<Range> ranges_;
};

} // namespace seamless::kvm
