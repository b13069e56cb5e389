// SPDX-License-Identifier: Apache-2.0
// What the ioctl API does not show and a software KVM can: whether a vCPU gets anywhere. A KVM in a kernel
// has no such port; the VMM works without.
#pragma once

#include <string>

#include "base/bits.h"

namespace seamless::vmm {

class InspectionPort {
  public:
    virtual ~InspectionPort() = default;

    struct Stall {
        // VM entries in a row that ended in the same fault-like exit, with the guest's RIP and general
        // registers just as they were before: no instruction retired in any of them.
        u64 fruitless_entries = 0;
        std::string where; // RIP and the exit, in words
    };
    // Of vCPU `index`; any thread.
    [[nodiscard]] virtual Stall stall(unsigned index) = 0;
};

} // namespace seamless::vmm
