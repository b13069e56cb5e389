// SPDX-License-Identifier: Apache-2.0
// Drives memory-like device registers: how long accesses take, and that each form of MOV reads and writes
// them right.
#pragma once

#include "base/bits.h"

namespace seamless::guest {

struct Timings { // in TSC cycles
    u64 first = 0;
    u64 second = 0;
    u64 later = 0; // average of the rest
    u64 accesses = 0;
    u64 exceptions = 0; // #VE taken by them
    bool values_good = false;
};

// The first accesses to a page: a write, a read, more reads.
[[nodiscard]] Timings time_accesses(u64 page);

// All sizes and forms, with a PASS or FAIL line each. Uses the 64 bytes at `at`.
void check_registers(u64 at);

} // namespace seamless::guest
