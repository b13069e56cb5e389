// SPDX-License-Identifier: Apache-2.0
// The ACPI tables of our machine, hardware-reduced, and the commands by which firmware puts them into memory.
// ACPI: "ACPI System Description Tables"; QEMU: "ACPI tables" (table-loader).
#pragma once

#include <span>
#include <vector>

#include "base/bits.h"
#include "vmm/memory_map.h"

namespace seamless::vmm::acpi {

// A virtio-mmio transport: its registers and its interrupt.
struct VirtioMmio {
    MemoryRange registers;
    u32 gsi = 0;
};

struct MachineDescription {
    unsigned cpus = 1;
    std::span<const VirtioMmio> virtio = {};
};

// Three files of fw_cfg. Addresses and checksums are firmware's to fill in, as `loader` tells it.
struct TableFiles {
    std::vector<u8> rsdp;
    std::vector<u8> tables;
    std::vector<u8> loader;
};

inline constexpr char kRsdpFile[] = "etc/acpi/rsdp";
inline constexpr char kTablesFile[] = "etc/acpi/tables";
inline constexpr char kLoaderFile[] = "etc/table-loader";

[[nodiscard]] TableFiles build_tables(const MachineDescription& machine);

} // namespace seamless::vmm::acpi
