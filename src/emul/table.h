// SPDX-License-Identifier: Apache-2.0
// The instructions the emulator knows: how each uses its operands, and what it computes.
#pragma once

#include "decode/instruction.h"
#include "emul/operation.h"

namespace seamless::emul {

// How operands are used; a row combines them.
inline constexpr u16 kReadDst = 1, kReadSrc = 2, kWriteDst = 4, kWriteSrc = 8;
inline constexpr u16 kString = 16;   // moves RSI and RDI on, and may repeat
inline constexpr u16 kUntilZf = 32;  // the repetition ends by ZF, too
inline constexpr u16 kPortIn = 64;   // the second operand is a port
inline constexpr u16 kPortOut = 128; // the first operand is a port

struct Row {
    ZydisMnemonic mnemonic;
    u16 form;
    Execute execute;
};

// The row for `insn`, or nullptr: not an instruction of this emulator, or not with these operands.
[[nodiscard]] const Row* find_row(const decode::Instruction& insn);

} // namespace seamless::emul
