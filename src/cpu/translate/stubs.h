// SPDX-License-Identifier: Apache-2.0
// The pieces of host code that every block shares: into and out of translated code, calls into C++ with the
// guest's registers and flags intact, and the loading of extended state.
#pragma once

#include <array>
#include <span>

#include "cpu/translate/frame.h"

namespace seamless::cpu {

struct SlowResult {
    u64 host; // where the access goes; 0: the block does not go on, and skip tells what comes instead
    u64 skip; // added to the return address: kBounceSkip runs the copy of the instruction behind the jump
};
inline constexpr u64 kBounceSkip = 5; // the length of `jmp rel32`
inline constexpr u64 kLeave = 0;      // out, by Frame::exit_code
inline constexpr u64 kGoOn = 1;       // at RIP, through Frame::target

// How a block hands control back: Frame::exit_code bits 7:0. Bits 15:8 are the vector of `raise`.
// `link`: like ended, and bits 31:16 are the number of the LinkSite that could lead on. `jump`: like ended,
// at an address the jump cache may hold next time.
// `executed`: behind an instruction of C++.
enum class ExitCode : u8 { ended, system, fault, raise, link, jump, executed };

// `packed` describes the access (Emitter); `return_address` tells which block it is in.
using SlowHelper = SlowResult (*)(Frame* frame, u64 gva, u32 packed, u64 return_address);

struct Stubs {
    void (*enter)() = nullptr;         // runs Frame::target until something exits; GS is the frame
    u64 exit = 0;                      // r14: exit code
    u64 jump[kTlbSets] = {};           // r15: RIP; on through the jump cache of the set, or out
    u64 call[kTlbSets] = {};           // the same for a CALL that may recurse
    u64 unknown_return[kTlbSets] = {}; // where a RET of the host goes whose CALL is not known
    u64 exit_registers_saved = 0;      // from a signal handler: the registers are in the frame already
    u64 slow = 0;                      // r14: linear address, r15: packed; r14 becomes the host pointer
    // The same behind an inline lookup, by read and write: looks at the second entry.
    // BMI2.
    u64 missed[kTlbSets][2] = {};
    u64 system = 0;                          // r14: the SystemCall
    u64 last = 0;                            // the same at the end of a block
    std::array<u64, kCrossings> crossings{}; // the same where C++ may not be needed; r15: RIP behind it
    u64 commit = 0;                          // writes the bounce buffer back
    u64 load_extended = 0;
    u64 nothing = 0; // ret
    u32 size = 0;
};

// The same for a miss of the inline TLB, with all vector registers the guest's: the host pointer, or nullptr.
using RefillHelper = u8* (*)(Mmu* mmu, u64 gva, u32 packed, u32 set);

struct SlowHelpers {
    SlowHelper slow, commit, system, last;
    RefillHelper refill;
};

// Emits the stubs at the start of `buffer`, which executes at `exec_base`.
[[nodiscard]] Stubs emit_stubs(std::span<u8> buffer, u64 exec_base, const SlowHelpers& helpers);

} // namespace seamless::cpu
