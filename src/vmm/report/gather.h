// SPDX-License-Identifier: Apache-2.0
// Collects the facts about a machine whose run is over: through the inspection port, and from KVM and the
// devices.
#pragma once

#include "vmm/machine.h"
#include "vmm/report/facts.h"

namespace seamless::vmm::report {

// What the report needs and this layer does not have.
struct Tools {
    // The instruction at the beginning of `bytes`, which are at `rip`, in code of 16, 32 or 64 bits.
    std::function<Instruction(u64 rip, std::span<const u8> bytes, unsigned bits)> decode;
    std::function<std::string(u64)> symbol;
    bool has_symbols = false;
};

// Adds what the memory of a vCPU tells: `facts` holds its registers.
void look_inside(VcpuFacts& facts, trace::Inspection& guests, const Tools& tools);

// `guests` is nullptr on a KVM that has no inspection port. The facts refer to the machine.
[[nodiscard]] Facts gather(const Machine& machine, const Outcome& outcome, trace::Inspection* guests,
                           const Tools& tools);

} // namespace seamless::vmm::report
