// SPDX-License-Identifier: Apache-2.0
// Re-encodes a guest instruction for the host: the same opcode, other registers, the memory operand replaced
// by [register] or [register + register]. Works on the bytes, so that the operation itself cannot change.
#pragma once

#include <array>
#include <optional>

#include "cpu/translate/assembler.h"
#include "decode/instruction.h"

namespace seamless::cpu {

// Which host register stands for each general register operand, and for the memory operand's address.
struct RegisterChoice {
    std::optional<Host> reg;    // ModRM.reg
    std::optional<Host> rm;     // ModRM.rm as a register
    std::optional<Host> opcode; // the register in the opcode byte
    std::optional<Host> vvvv;   // VEX.vvvv
    std::optional<Host> memory; // the base of the memory operand
    std::optional<Host> index;  // and its index: not with EVEX
    i32 disp = 0;               // and its displacement
};

struct HostBytes {
    std::array<u8, 24> data{};
    u8 size = 0;
};

// True if the instruction, so chosen, has no encoding: a high-byte register beside one that needs REX.
[[nodiscard]] bool needs_legacy_registers(const decode::Instruction& insn, const RegisterChoice& choice);

[[nodiscard]] HostBytes reencode(const decode::Instruction& insn, const RegisterChoice& choice);

} // namespace seamless::cpu
