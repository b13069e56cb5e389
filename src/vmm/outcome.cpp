// SPDX-License-Identifier: Apache-2.0
// Exit statuses of a run: a contract with scripts.
#include "vmm/outcome.h"

namespace seamless::vmm {

int Outcome::exit_status() const
{
    switch (kind) {
    case Kind::powered_off:
        return 0;
    case Kind::debug_exit:
        return static_cast<int>((value << 1 | 1) & 0xff);
    case Kind::timeout:
        return 4;
    case Kind::guest_died:
        return 6;
    case Kind::reset:
        return 8;
    case Kind::signal:
        return static_cast<int>(128 + value);
    case Kind::internal_error:
        break;
    }
    return 70;
}

} // namespace seamless::vmm
