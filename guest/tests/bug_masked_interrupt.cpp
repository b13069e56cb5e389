// SPDX-License-Identifier: Apache-2.0
// A planted bug: the serial port may interrupt, the local APIC waits, and the I/O APIC's pin stays masked.
#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/x86.h"
#include "guest/tests/apic.h"

namespace seamless::guest {

bool guest_main(const Machine& machine)
{
    constexpr u64 kIoapic = 0xfec00000, kSelect = 0, kWindow = 0x10;
    constexpr u32 kEntry4 = 0x10 + 2 * 4, kVector = 0x24, kMask = 1 << 16;
    constexpr u16 kInterruptEnable = 0x3f9, kModemControl = 0x3fc;
    constexpr u8 kTransmitterEmpty = 2, kOut2 = 8;
    const u64 ioapic = map_device(machine, kIoapic);
    apic::enable();
    store32(ioapic + kSelect, kEntry4);
    store32(ioapic + kWindow, kMask | kVector);
    print("waiting\n");
    out8(kModemControl, kOut2);
    out8(kInterruptEnable, kTransmitterEmpty);
    for (;;)
        wait_for_interrupt();
}

} // namespace seamless::guest
