// SPDX-License-Identifier: Apache-2.0
// Where parked processors wait for the operating system. ACPI: "Multiprocessor Wakeup Mailbox Structure".
#pragma once

#include "base/bits.h"

namespace seamless::guest {

struct alignas(4096) Mailbox {
    u16 command;
    u16 reserved;
    u32 apic_id;
    u64 vector;
    u8 others[4096 - 16]; // the operating system's, then the firmware's
};
inline constexpr u16 kMailboxNoop = 0, kMailboxWakeup = 1, kMailboxTest = 2;

extern volatile Mailbox mailbox;

} // namespace seamless::guest
