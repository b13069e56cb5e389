// SPDX-License-Identifier: Apache-2.0
// A planted bug: HLT with interrupts disabled, while one waits that would end it.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/tests/apic.h"

namespace seamless::guest {

bool guest_main(const Machine&)
{
    constexpr u64 kVector = 0x31;
    apic::enable();
    print("sleeping\n");
    wrmsr(apic::SELF_IPI, kVector);
    for (;;)
        asm volatile("cli; hlt" : : : "memory");
}

} // namespace seamless::guest
