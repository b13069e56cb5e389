// SPDX-License-Identifier: Apache-2.0
// What start.S and the reset state tell about the machine, and how a guest leaves it.
#pragma once

#include "base/bits.h"

namespace seamless::guest {

struct Machine {
    bool td = false;
    unsigned gpaw = 0;  // guest physical address width in bits; 0 where nobody told
    u64 shared_bit = 0; // mask of the GPA bit that makes an address shared; 0 in a plain VM
    u64 hob_list = 0;   // GPA of the HOB list; 0 without one
};

// The one thing every image brings: its program. Returns whether all went well.
bool guest_main(const Machine& machine);

// Power off, and where nobody listens there, the debug-exit port.
[[noreturn]] void end_guest(bool success);

// Failure, without a word to the power-off port.
[[noreturn]] void debug_exit(u8 value);

} // namespace seamless::guest

// Of a program that uses more than one vCPU: what number `index` (1 to 7) does. It runs beside guest_main(),
// with interrupts off, and sleeps for good when it returns.
extern "C" [[gnu::weak]] void secondary_main(unsigned index);
