// SPDX-License-Identifier: Apache-2.0
// A guest that executes one jump to itself for ever: for --timeout and for signals.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"

namespace seamless::guest {

bool guest_main(const Machine&)
{
    print("hanging\n");
    for (;;)
        asm volatile("" : : : "memory");
}

} // namespace seamless::guest
