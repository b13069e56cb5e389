// SPDX-License-Identifier: Apache-2.0
// Makes the logical processors of a package: real ones, that run guest code.
#pragma once

#include "cpu/debug_port.h"
#include "cpu/package.h"

namespace seamless::cpu {

// full: translated blocks. step: one instruction at a time, every memory access in C++.
enum class EngineMode : u8 { full, step };

// What the full engine does for speed alone. Without any of it guests see the same: tests compare.
struct Optimizations {
    bool inline_tlb = true;        // translated code finds host memory by itself
    bool inline_flags_live = true; // also where the flags must be kept (BMI2)
    bool dead_flags = true;        // arithmetic flags that the code behind overwrites are not kept
    bool links = true;             // blocks of one page jump to each other
    bool far_links = true;         // direct jumps and calls into other pages are linked (BMI2)
    bool jump_cache = true;        // indirect and cross-page jumps find their block (BMI2)
    bool calls = true;             // blocks go on behind an instruction of C++ that changes no mode
    bool inline_system = true;     // system calls, STI, PUSHF and the like go without C++ (BMI2)
    bool returns = true;           // returns find what is behind their calls without a lookup (BMI2)
    bool stretches = true;         // neighbouring accesses of a block share one lookup
    bool translation_cache = true; // translations survive a change of the address space
    bool uncounted = true;         // nobody wants to know how many instructions the guest has executed
};

// For Package: each processor gets its memory for translated code when it first enters a guest. A debugger,
// if there is one, must outlive the package.
[[nodiscard]] LpFactory make_processor(EngineMode mode, const Optimizations& optimizations = {},
                                       DebugPort* debug_port = nullptr);

} // namespace seamless::cpu
