// SPDX-License-Identifier: Apache-2.0
// A planted bug: MMIO by an instruction that the #VE handler does not know, because a compiler chose it.
#include "guest/firmware/console.h"
#include "guest/firmware/memory.h"
#include "guest/tests/give_up.h"

namespace seamless::guest {

bool guest_main(const Machine& machine)
{
    const u64 at = map_device(machine, find_resource(machine, ResourceType::MEMORY_MAPPED_IO).start);
    set_handler(kVirtualizationException, handle_ve_or_give_up);
    print("touching the device\n");
    asm volatile("addl %1, %0" : "+m"(*reinterpret_cast<volatile u32*>(at)) : "r"(1));
    return false;
}

} // namespace seamless::guest
