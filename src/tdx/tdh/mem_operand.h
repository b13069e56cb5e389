// SPDX-License-Identifier: Apache-2.0
// What the TDH.MEM leaves share: the GPA operand, the walk to its entry, and entry information in RCX and
// RDX.
#pragma once

#include "tdx/seam_call.h"
#include "tdx/sept.h"

namespace seamless::tdx {

// RCX of a MEM leaf: GPA and level, checked.
struct MemOperand {
    u64 gpa = 0;
    unsigned level = 0;
};
[[nodiscard]] TdxStatus parse_gpa(const SeamCall& call, unsigned min_level, unsigned max_level,
                                  MemOperand& out);

// Puts the entry information of `at` into RCX and RDX and returns `status`.
TdxStatus with_entry(SeamCall& call, const sept::Position& at, TdxStatus status);

// Walks to the entry of `operand`; EPT_WALK_FAILED with entry information if a table is missing.
[[nodiscard]] TdxStatus walk_to(SeamCall& call, const MemOperand& operand, sept::Position& at);

// The PAMT entry of the page or table that `at` refers to.
[[nodiscard]] PamtEntry& target_entry(const SeamCall& call, const sept::Position& at);

// Whether what was blocked in `bepoch` can no longer be in any TLB.
[[nodiscard]] bool tlb_tracked(const Td& td, u64 bepoch);

} // namespace seamless::tdx
