// SPDX-License-Identifier: Apache-2.0
// Instructions that were decoded before. A driver reaches its device by few of them, again and again.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "decode/instruction.h"
#include "emul/table.h"

namespace seamless::emul {

struct Decoded {
    decode::Instruction insn;
    decode::CodeSize mode{};
    const Row* row = nullptr; // how it is emulated; null: nothing is decoded here
    u8 repeat_prefix = 0;     // F2, F3, or 0

    // Whether `bytes` begin with this instruction.
    [[nodiscard]] bool is(std::span<const u8> bytes, decode::CodeSize size) const
    {
        return row && mode == size && bytes.size() >= insn.length() &&
               std::equal(insn.bytes, insn.bytes + insn.length(), bytes.begin());
    }
};

// By where they are; what is there now decides.
class DecodedInstructions {
  public:
    [[nodiscard]] Decoded& at(u64 rip) { return places_[(rip ^ rip >> 6) % places_.size()]; }

  private:
    std::array<Decoded, 16> places_{};
};

} // namespace seamless::emul
