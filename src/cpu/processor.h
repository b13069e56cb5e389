// SPDX-License-Identifier: Apache-2.0
// Makes the logical processors of a package: real ones, that run guest code.
#pragma once

#include "cpu/package.h"

namespace seamless::cpu {

// full: translated blocks. step: one instruction at a time, every memory access in C++.
enum class EngineMode : u8 { full, step };

// For Package: each processor gets its memory for translated code when it first enters a guest.
[[nodiscard]] LpFactory make_processor(EngineMode mode);

} // namespace seamless::cpu
