// SPDX-License-Identifier: Apache-2.0
// ACPI tables: what the host hands over is linked in place by its table-loader script; the firmware adds the
// mailbox by which an operating system wakes the other processors.
#pragma once

#include "guest/linux/fw_cfg.h"

namespace seamless::guest {

// Returns the address of the RSDP, 0 without one. `digest` gets the SHA-384 of the tables as delivered.
[[nodiscard]] u64 install_acpi(FwCfg& fw_cfg, u8* digest);

} // namespace seamless::guest
