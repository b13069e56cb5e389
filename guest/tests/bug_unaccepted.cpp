// SPDX-License-Identifier: Apache-2.0
// A planted bug: private memory is used before it is accepted.
#include "guest/firmware/access.h"
#include "guest/firmware/machine.h"

namespace seamless::guest {

bool guest_main(const Machine&)
{
    constexpr u64 kUnaccepted = 0x4000000;
    store64(kUnaccepted, 1);
    return false;
}

} // namespace seamless::guest
