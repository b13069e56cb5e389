// SPDX-License-Identifier: Apache-2.0
// As much of EFI as an operating system needs to end a hardware-reduced machine: where ACPI's fixed hardware
// is missing, Linux resets and powers off by EFI's ResetSystem, and knows no other way that works in a TD.
#pragma once

#include "base/bits.h"
#include "guest/linux/acpi_tables.h"

namespace seamless::guest {

// Puts the tables and services in place, describes memory as the boot parameters do, and names both there.
void offer_efi(u64 rsdp, const FixedHardware& hardware);

} // namespace seamless::guest
