// SPDX-License-Identifier: Apache-2.0
// What the dispatcher does for the TDH.MEM leaves as their SeptRule says: operands, the walk to the entry,
// its lock and state. And what the leaves share behind that.
#pragma once

#include "tdx/seam_call.h"

namespace seamless::tdx {

// RCX, R8 and R9, before the tree is locked.
[[nodiscard]] TdxStatus check_operands(SeamCall& call, const SeptRule& rule);
// The entry that RCX names: found, locked, in an allowed state.
[[nodiscard]] TdxStatus find_entry(SeamCall& call, const SeptRule& rule);

// A refusal with operand RCX, and the entry's description in RCX and RDX.
TdxStatus entry_error(SeamCall& call, TdxStatus status);
// Success, with what left the tree or zero in RCX, and zero in RDX.
TdxStatus done(SeamCall& call, u64 rcx = 0);

// In a TD that may run, what the entry refers to must be blocked, and out of all TLBs.
[[nodiscard]] TdxStatus check_tracked(SeamCall& call);

// The page or table that the entry refers to, and its PAMT entry.
[[nodiscard]] Hpa target_page(const SeamCall& call);
[[nodiscard]] PamtEntry& target_entry(const SeamCall& call);
// Locks it; OPERAND_BUSY with the entry's description if somebody else has.
[[nodiscard]] TdxStatus lock_target(SeamCall& call, LockedPage& page);

} // namespace seamless::tdx
