// SPDX-License-Identifier: Apache-2.0
// The definition block: sleep state S5 and the devices that no bus can enumerate.
#pragma once

#include "vmm/acpi/aml.h"
#include "vmm/acpi/tables.h"

namespace seamless::vmm::acpi {

// The AML after the table's header.
[[nodiscard]] Aml dsdt_body(const MachineDescription& machine);

} // namespace seamless::vmm::acpi
