// SPDX-License-Identifier: Apache-2.0
// The local APIC as far as KVM keeps it for a TD: x2APIC registers as plain state, what MSR accesses read
// back.
#pragma once

#include <array>

#include "base/bits.h"
#include "base/errno.h"
#include "base/result.h"

namespace seamless::kvm {

class Lapic {
  public:
    explicit Lapic(u32 x2apic_id);
    // `index` is 800H to 8FFH. EINVAL: a reserved register, or one that is read-only or write-only.
    [[nodiscard]] Result<u64, Errno> read(u32 index) const;
    [[nodiscard]] Result<void, Errno> write(u32 index, u64 value);
    [[nodiscard]] bool software_enabled() const { return reg_[0x0f] & bit(8); }
    // The last interrupt command written, taken by the VM that delivers it; 0: none.
    [[nodiscard]] u64 take_icr();

  private:
    std::array<u64, 256> reg_{};
    bool icr_written_ = false;
};

} // namespace seamless::kvm
