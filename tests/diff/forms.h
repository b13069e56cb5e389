// SPDX-License-Identifier: Apache-2.0
// The instructions that cases are drawn from: every opcode that decodes to something the opcode list runs
// and the host can run too, found by trying all of them.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "decode/instruction.h"

namespace seamless::diff {

// One row of an opcode map: enough to build instructions of one mnemonic.
struct Form {
    ZydisInstructionEncoding encoding = ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    u8 map = 0; // 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A
    u8 opcode = 0;
    u8 prefix = 0; // 0, 66H, F3H or F2H
    bool wide = false;
    u8 length = 0; // VEX.L, EVEX.L'L
    u8 reg = 0;    // ModRM.reg
    u8 rm = 0;
    bool memory = false;
    bool modrm = false;
    bool fixed_rm = false; // ModRM.rm is part of the opcode
};

struct MnemonicForms {
    ZydisMnemonic mnemonic;
    std::vector<Form> forms;
};

// Evenly many mnemonics of each kind are more use than evenly many opcodes: a list by mnemonic.
[[nodiscard]] std::vector<MnemonicForms> enumerate_forms();

// May a case contain it? It must be executed by something under test, do the same on the host in user mode,
// and touch no memory but what the generator can place.
[[nodiscard]] bool has_oracle(const decode::Instruction& insn);

} // namespace seamless::diff
