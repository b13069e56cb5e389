// SPDX-License-Identifier: Apache-2.0
// A planted bug: a device's registers without the shared bit in the page tables, which map the first 4 GiB.
#include "guest/firmware/access.h"
#include "guest/firmware/memory.h"
#include "guest/tests/give_up.h"

namespace seamless::guest {

bool guest_main(const Machine& machine)
{
    (void)load32(find_resource(machine, ResourceType::MEMORY_MAPPED_IO).start);
    return false;
}

} // namespace seamless::guest
