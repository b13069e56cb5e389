// SPDX-License-Identifier: Apache-2.0
// Decodes the MOV instructions a guest uses on device registers, and moves their value between register and
// device. In a TD the guest must do this itself: nobody else may read its code or registers.
#pragma once

#include "guest/firmware/exceptions.h"

namespace seamless::guest {

struct MmioInstruction {
    enum class Extension : u8 { none, zero, sign };

    unsigned length = 0;      // of the instruction
    unsigned access = 0;      // bytes of memory: 1, 2, 4, 8
    unsigned destination = 0; // bytes of the register a load writes
    bool write = false;
    bool has_immediate = false;
    bool high_byte = false; // AH, CH, DH, BH
    unsigned reg = 0;       // number of the general register, as Frame::gpr() counts
    Extension extension = Extension::none;
    u64 immediate = 0;
};

// Decodes the instruction at `bytes` in 64-bit mode; false where it is none of ours: MOV (88 to 8B, A0 to A3,
// C6, C7), MOVZX, MOVSX. The operand is taken to be in memory, as the fault says; its address is never
// computed.
[[nodiscard]] bool decode_mmio(const u8* bytes, MmioInstruction& out);

// What a store writes, zero-extended.
[[nodiscard]] u64 stored_value(const MmioInstruction& instruction, Frame& frame);

// Gives the register what a load read. Writes of 8 and 16 bits keep the rest of a register, writes of 32 bits
// clear it.
void take_loaded_value(const MmioInstruction& instruction, Frame& frame, u64 value);

} // namespace seamless::guest
