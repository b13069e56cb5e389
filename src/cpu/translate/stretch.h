// SPDX-License-Identifier: Apache-2.0
// Stretches: neighbouring instructions of a block whose memory accesses lie close to each other, at the same
// registers with other displacements. One lookup serves them all.
#pragma once

#include <span>
#include <vector>

#include "decode/instruction.h"

namespace seamless::cpu {

// An effective address without its displacement.
struct AddressForm {
    ZydisRegister base = ZYDIS_REGISTER_NONE; // RIP: the page that the block starts in
    ZydisRegister index = ZYDIS_REGISTER_NONE;
    u8 scale = 0;
    ZydisRegister segment = ZYDIS_REGISTER_NONE; // FS, GS or none
    friend bool operator==(const AddressForm&, const AddressForm&) = default;
};

struct Stretch {
    AddressForm form;
    u16 first = 0;  // instructions of the block
    u16 last = 0;   // accesses memory, as the first does
    i32 lowest = 0; // displacement of the first byte, from the registers before the first instruction
    u16 bytes = 0;
    bool write = false;
    std::vector<i32> at; // by instruction, for those that access memory: how far from `lowest`
};

// Of 64-bit code that starts at `offset` of its page; in order.
[[nodiscard]] std::vector<Stretch> find_stretches(std::span<const decode::Instruction> insns, u64 offset);

} // namespace seamless::cpu
