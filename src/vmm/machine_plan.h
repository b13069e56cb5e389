// SPDX-License-Identifier: Apache-2.0
// What will be built: the user's wishes, checked, with the memory layout and the hand-off blocks that follow
// from them. Everything that can be wrong with the user's input is found here, before the first ioctl.
#pragma once

#include "vmm/hob.h"
#include "vmm/linux_payload.h"
#include "vmm/memory_map.h"
#include "vmm/tdvf.h"

namespace seamless::vmm {

enum class VmKind : u8 { td, plain };

struct MachineConfig {
    VmKind kind = VmKind::td;
    std::vector<u8> firmware;
    u64 memory = u64{512} << 20;
    unsigned cpus = 1;
    std::vector<MemoryRange> testdevs;
    const LinuxPayload* payload = nullptr; // what the firmware shall boot; outlives the machine
};

struct MachinePlan {
    MachineConfig config;
    MemoryMap map;
    Tdvf tdvf;
    u64 hob_address = 0; // 0: the firmware asks for no hand-off blocks
    std::vector<u8> hob; // padded to its section

    // The content of page `index` of `section`.
    void page(const TdvfSection& section, u64 index, std::span<u8, base::kPageSize> out) const;
};

inline constexpr unsigned kMaxCpus = 64;

[[nodiscard]] Result<MachinePlan, Message> plan_machine(MachineConfig config);

} // namespace seamless::vmm
