// SPDX-License-Identifier: Apache-2.0
// What firmware finds in fw_cfg: the machine's size, the kernel to boot, the ACPI tables.
#pragma once

#include "devices/fw_cfg.h"
#include "vmm/machine_plan.h"

namespace seamless::vmm {

// The kernel's files are not copied: they must outlive `fw_cfg`.
void fill_fw_cfg(devices::FwCfg& fw_cfg, const MachinePlan& plan);

} // namespace seamless::vmm
