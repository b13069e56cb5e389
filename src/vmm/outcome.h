// SPDX-License-Identifier: Apache-2.0
// How a run ended, and the exit status that says so.
#pragma once

#include <string>

#include "base/bits.h"

namespace seamless::vmm {

struct Outcome {
    enum class Kind : u8 { powered_off, debug_exit, reset, timeout, guest_died, internal_error, signal };

    Kind kind = Kind::internal_error;
    u32 value = 0;      // debug_exit: what the guest wrote; signal: its number
    std::string report; // for people: what happened, one fact a line

    [[nodiscard]] int exit_status() const;
};

} // namespace seamless::vmm
