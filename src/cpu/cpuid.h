// SPDX-License-Identifier: Apache-2.0
// CPUID of the simulated processor: what the host executes and this engine supports. Guests see what KVM or
// the TDX module makes of it; the engine raises #UD for what is not offered here.
#pragma once

#include "base/bits.h"

namespace seamless::cpu {

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;

    friend constexpr bool operator==(const CpuidResult&, const CpuidResult&) = default;
};

// Native CPUID. Vendor and model are the host's; leaves past the maximum are zero. Bits that depend on the
// current processor state (OSXSAVE, APIC id, XSAVE sizes by XCR0) have their reset value.
[[nodiscard]] CpuidResult native_cpuid(u32 leaf, u32 subleaf);

// XCR0 and IA32_XSS bits this processor supports.
[[nodiscard]] u64 supported_xcr0();
[[nodiscard]] u64 supported_xss();

} // namespace seamless::cpu
