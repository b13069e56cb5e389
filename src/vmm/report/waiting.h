// SPDX-License-Identifier: Apache-2.0
// What a vCPU does that does nothing: where it is, and what it waits for.
#pragma once

#include "vmm/report/facts.h"

namespace seamless::vmm::report {

struct Wait {
    enum class Kind : u8 {
        unknown,
        not_started,
        halted,         // with interrupts enabled
        halted_blocked, // with interrupts blocked: only an NMI could wake it
        running,        // it was in the guest when the run ended
        outside,        // in an exit that the host handles
    } kind = Kind::unknown;
};

[[nodiscard]] Wait wait_of(const VcpuFacts& vcpu);
// "vCPU 1 waits in HLT for an interrupt (interrupts enabled); requested: 0x31".
[[nodiscard]] std::string words_of_wait(const VcpuFacts& vcpu, u64 shared_bit);
// The vectors of a set: "0x31, 0x40"; empty if there are none.
[[nodiscard]] std::string vectors(const std::array<u64, 4>& set);
// The highest one, or -1.
[[nodiscard]] int highest(const std::array<u64, 4>& set);

} // namespace seamless::vmm::report
