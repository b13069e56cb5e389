// SPDX-License-Identifier: Apache-2.0
// The instructions the emulator knows: how each uses its operands, and what it computes.
#pragma once

#include "base/result.h"
#include "decode/instruction.h"
#include "emul/codes.h"
#include "emul/operation.h"

namespace seamless::emul {

class Emulator;

// How operands are used; a row combines them.
inline constexpr u32 kReadDst = 1, kReadSrc = 2, kWriteDst = 4, kWriteSrc = 8;
inline constexpr u32 kString = 16;        // moves RSI and RDI on, and may repeat
inline constexpr u32 kUntilZf = 32;       // the repetition ends by ZF, too
inline constexpr u32 kPortIn = 64;        // the second operand is a port
inline constexpr u32 kPortOut = 128;      // the first operand is a port
inline constexpr u32 kBitOffset = 256;    // the second operand, a register, reaches beyond the first
inline constexpr u32 kWide = 512;         // RDX:RAX take part
inline constexpr u32 kSse = 1024;         // XMM registers, with the exceptions of their use
inline constexpr u32 kMmx = 2048;         // MMX registers, likewise
inline constexpr u32 kUnaligned = 4096;   // 16 bytes at any address
inline constexpr u32 kPrivileged = 8192;  // #GP outside of CPL 0
inline constexpr u32 kProtected = 16384;  // #UD in real and virtual-8086 mode
inline constexpr u32 kUmip = 32768;       // #GP outside of CPL 0 if CR4.UMIP
inline constexpr u32 kSelector = 65536;   // an operand may be a segment register, a memory operand is 16 bits
inline constexpr u32 kReadCount = 262144; // a third operand, a count or an immediate
inline constexpr u32 kFpu = 131072;       // #NM if CR0.TS or EM

// What touches more than its operands: the stack, RIP, system registers.
using Step = Result<void, X86Emul> (*)(Emulator&, Operation&);

struct Row {
    ZydisMnemonic mnemonic;
    u32 form;
    Execute execute;
    Step step = nullptr;
};

// The row for `insn`, or nullptr: not an instruction of this emulator, or not with these operands.
[[nodiscard]] const Row* find_row(const decode::Instruction& insn);

} // namespace seamless::emul
