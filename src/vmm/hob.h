// SPDX-License-Identifier: Apache-2.0
// The TD HOB list: how the VMM tells firmware where memory and devices are. UEFI PI: "HOB Code Definitions".
#pragma once

#include <span>
#include <vector>

#include "vmm/memory_map.h"

namespace seamless::vmm {

struct HobInput {
    u64 address = 0;                    // where the list will be
    std::span<const MemoryRange> ram;   // ascending
    std::span<const MemoryRange> added; // what a TD's host adds before the start, in any order
    std::span<const MemoryRange> mmio;  // registers of devices that firmware must be told about
    bool unaccepted = true;             // a TD: RAM that was not added must be accepted before use
};

[[nodiscard]] std::vector<u8> build_hob_list(const HobInput& input);

} // namespace seamless::vmm
