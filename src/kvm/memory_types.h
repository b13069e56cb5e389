// SPDX-License-Identifier: Apache-2.0
// MSRs that hold memory types: IA32_PAT and the MTRRs. Which there are, and which values they take. To KVM
// the MTRRs are state that nothing looks at: what a mapping's type is, PAT and EPT say. SDM: "Memory Type
// Range Registers".
#pragma once

#include "base/bits.h"

namespace seamless::kvm {

class Vcpu;

// Numbers that KVM takes for MTRRs; between them are some that are none.
[[nodiscard]] bool is_mtrr_number(u32 index);
[[nodiscard]] bool has_mtrr(u32 index);
// What may be written; nothing to IA32_MTRRCAP.
[[nodiscard]] bool mtrr_valid(const Vcpu& vcpu, u32 index, u64 value);
[[nodiscard]] bool pat_valid(u64 value);

} // namespace seamless::kvm
