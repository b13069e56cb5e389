// SPDX-License-Identifier: Apache-2.0
// A VM exit as the guest's processor knows it, and how the guest went on: always noted, for those who look
// back at a guest that has died. And what its local APIC held by then.
#pragma once

#include <array>

#include "spec/x86.h"

namespace seamless::trace {

struct Crossing {
    u64 number = 0; // of the vCPU, from 1
    u32 exit_reason = 0;
    u32 instruction_length = 0;
    u64 qualification = 0, gla = 0, gpa = 0;
    u64 rip = 0, rsp = 0, rflags = 0;
    std::array<u64, spec::kGprCount> gpr{}; // by spec::Gpr; RSP is above
    // The guest has been entered again, with these; else it never was.
    bool resumed = false;
    u32 injected = 0; // VM-entry interruption information
    u64 next_rip = 0;
    std::array<u64, spec::kGprCount> next_gpr{};

    [[nodiscard]] u64 at_exit(spec::Gpr r) const { return gpr[static_cast<unsigned>(r)]; }
    [[nodiscard]] u64 at_entry(spec::Gpr r) const { return next_gpr[static_cast<unsigned>(r)]; }
};

// Bit v of the sets is vector v.
struct ApicState {
    std::array<u64, 4> requested{};  // IRR
    std::array<u64, 4> in_service{}; // ISR
    std::array<u64, 4> posted{};     // sent by the host, not yet in IRR
    u8 task_priority = 0;
    bool software_enabled = false;
};

} // namespace seamless::trace
