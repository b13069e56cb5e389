// SPDX-License-Identifier: Apache-2.0
// ACPI tables: what the host hands over is linked in place by its table-loader script; the firmware adds the
// mailbox by which an operating system wakes the other processors.
#pragma once

#include "guest/linux/fw_cfg.h"

namespace seamless::guest {

// What the FADT says of a machine whose ACPI is hardware-reduced: how to end it through I/O ports; 0 where
// there is none.
struct FixedHardware {
    bool reduced = false;
    u16 reset_port = 0, sleep_port = 0;
    u8 reset_value = 0, sleep_value = 0;
};

// Returns the address of the RSDP, 0 without one. `digest` gets the SHA-384 of the tables as delivered.
[[nodiscard]] u64 install_acpi(FwCfg& fw_cfg, u8* digest);

// Of the tables that install_acpi() has linked.
[[nodiscard]] FixedHardware fixed_hardware(u64 rsdp);

} // namespace seamless::guest
