// SPDX-License-Identifier: Apache-2.0
// How a run ended, and the exit status that says so.
#pragma once

#include <string>

#include "base/bits.h"

namespace seamless::vmm {

// What the VMM saw of a guest's death, in KVM's terms.
enum class Death : u8 {
    none,
    fatal_error, // TDG.VP.VMCALL<ReportFatalError>
    triple_fault,
    internal_error,
    entry_failure,
    memory_fault,
    dead_vm,
    no_progress,
    halt,
    crash_event,
};

struct Outcome {
    enum class Kind : u8 { powered_off, debug_exit, reset, timeout, guest_died, internal_error, signal };

    Kind kind = Kind::internal_error;
    u32 value = 0;      // debug_exit: what the guest wrote; signal: its number
    std::string report; // for people: what happened, one fact a line
    Death death = Death::none;
    u32 vcpu = 0;          // whose exit ended the run, where a death has one
    u64 gpa = 0;           // memory_fault: where
    bool private_ = false; // memory_fault: as what the guest accessed it

    [[nodiscard]] int exit_status() const;
};

} // namespace seamless::vmm
