// SPDX-License-Identifier: Apache-2.0
// An exception without an IDT: #BP, then #GP, #DF and shutdown.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"

namespace seamless::guest {

bool guest_main(const Machine&)
{
    print("triple fault\n");
    const struct [[gnu::packed]] {
        u16 limit;
        u64 base;
    } no_idt{0, 0};
    asm volatile("lidt %0; int3" : : "m"(no_idt) : "memory");
    print("FAIL still alive\n");
    return false;
}

} // namespace seamless::guest
