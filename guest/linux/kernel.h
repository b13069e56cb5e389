// SPDX-License-Identifier: Apache-2.0
// Linux's x86 boot protocol, as far as a 64-bit start needs it.
#pragma once

#include "guest/linux/fw_cfg.h"

namespace seamless::guest {

struct RamRange {
    u64 start, end;
};

// Memory as the boot parameters describe it. Linux: "Zero Page", e820_table.
enum class E820Type : u32 { ram = 1, reserved = 2, acpi = 3, nvs = 4 };
struct [[gnu::packed]] E820Entry {
    u64 start, size;
    E820Type type;
};

struct Kernel {
    u64 entry = 0;
    u64 boot_parameters = 0;
};

// What goes into the measurement registers.
struct KernelDigests {
    u8 kernel[48];
    u8 command_line[48];
    u8 initrd[48];
    bool has_initrd;
};

// Fetches kernel, initrd and command line, and writes the boot parameters. On failure says why on the
// console.
[[nodiscard]] bool load_kernel(FwCfg& fw_cfg, const RamRange* ram, unsigned ram_count, u64 rsdp,
                               Kernel& kernel, KernelDigests& digests);

// What load_kernel() wrote.
[[nodiscard]] unsigned e820_count();
[[nodiscard]] E820Entry e820_entry(unsigned index);

// Does not return.
[[noreturn]] void start_kernel(const Kernel& kernel);

} // namespace seamless::guest
