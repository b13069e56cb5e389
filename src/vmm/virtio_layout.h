// SPDX-License-Identifier: Apache-2.0
// Where the virtio-mmio transports are. All of them are there in every machine, some without a device: so the
// ACPI tables, which a TD measures, do not depend on which devices a run has.
#pragma once

#include "vmm/acpi/tables.h"

namespace seamless::vmm {

inline constexpr u64 kVirtioSize = 0x200;
inline constexpr unsigned kVirtioTransports = 8;
inline constexpr unsigned kMostDisks = 5;

// Which device is behind which transport: disks first, so that Linux numbers them in the user's order.
inline constexpr unsigned kFirstDisk = 0, kNetworkIndex = 5, kConsoleIndex = 6, kEntropyIndex = 7;
static_assert(kFirstDisk + kMostDisks == kNetworkIndex);

// I/O APIC pins above those that ISA devices have by habit.
inline constexpr u32 kFirstVirtioGsi = 16;

[[nodiscard]] constexpr acpi::VirtioMmio virtio_transport(unsigned index)
{
    return {{MemoryMap::kVirtio.start + kVirtioSize * index, kVirtioSize}, kFirstVirtioGsi + index};
}

// The tables of a machine with this many processors.
[[nodiscard]] inline acpi::TableFiles machine_tables(unsigned cpus)
{
    acpi::VirtioMmio transports[kVirtioTransports];
    for (unsigned i = 0; i < kVirtioTransports; ++i)
        transports[i] = virtio_transport(i);
    return acpi::build_tables({.cpus = cpus, .virtio = transports});
}

} // namespace seamless::vmm
