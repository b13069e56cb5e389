// SPDX-License-Identifier: Apache-2.0
// Chooses what registers, displacements and memory words an instruction needs, so that it touches only memory
// that host and guest have in common, and branches only to where a case ends.
#pragma once

#include "diff/generator.h"

namespace seamless::diff {

// Fills in `out` for `insn`, to be placed at `at`; edits displacements and immediates in out.bytes. False if
// the instruction cannot be placed: try another.
[[nodiscard]] bool place(const decode::Instruction& insn, u64 at, bool alone, u64 fs_base, Rng& rng,
                         Piece& out);

} // namespace seamless::diff
