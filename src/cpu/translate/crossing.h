// SPDX-License-Identifier: Apache-2.0
// Instructions that lead to another mode (SYSCALL, SYSRET, STAC, CLAC) without C++, where that would do what
// it did the last time.
#pragma once

#include <array>

#include "cpu/state.h"
#include "decode/instruction.h"

namespace seamless::cpu {

class Assembler;

// What C++ found: true until `closed`, which whatever it depends on sets again.
struct Crossing {
    u64 closed = 1;   // not 0: C++ has to do it
    u64 keep = 0;     // SYSCALL: the bits of RFLAGS that stay
    u64 rip = 0;      // SYSCALL: where to
    u64 target = 0;   // Stubs::jump of the mode it leads to
    u64 sentinel = 0; // Stubs::unknown_return of that
    spec::Segment cs, ss;
};

enum class CrossingKind : u8 { syscall, sysret, stac, clac };
inline constexpr unsigned kCrossings = 4;

// nullptr: not one of these.
[[nodiscard]] const CrossingKind* crossing_of(const decode::Instruction& insn);

// Whether C++ may change by this instruction what was found: that no interrupt waits to be taken, and what
// the crossings mean.
[[nodiscard]] bool stirs(const decode::Instruction& insn);

// The code of all crossings: called with r14, the SystemCall, and r15, RIP behind the instruction. Those that
// are closed go to `last`, as if that had been called.
[[nodiscard]] std::array<u64, kCrossings> emit_crossings(Assembler& a, u64 last);

} // namespace seamless::cpu
