// SPDX-License-Identifier: Apache-2.0
// A planted bug: RDMSR of an MSR that a TD does not have, by a guest that takes for granted that it has.
#include "guest/firmware/console.h"
#include "guest/firmware/x86.h"
#include "guest/tests/give_up.h"

namespace seamless::guest {

bool guest_main(const Machine&)
{
    constexpr u32 kNobodysMsr = 0x12345;
    set_handler(kVirtualizationException, handle_ve_or_give_up);
    print("reading an MSR\n");
    (void)rdmsr(kNobodysMsr);
    return false;
}

} // namespace seamless::guest
