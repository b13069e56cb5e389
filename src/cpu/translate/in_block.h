// SPDX-License-Identifier: Apache-2.0
// Instructions of C++ that a block calls and goes on behind: they change neither the mode that blocks depend
// on nor where the guest goes on.
#pragma once

#include "decode/instruction.h"

namespace seamless::cpu {

[[nodiscard]] bool goes_on_behind(const decode::Instruction& insn);

// One of these that neither reads nor writes the arithmetic flags.
[[nodiscard]] bool leaves_arithmetic_flags(const decode::Instruction& insn);

} // namespace seamless::cpu
