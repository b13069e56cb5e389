// SPDX-License-Identifier: Apache-2.0
// Zeroes memory that may never have been touched, and leaves it untouched then.
#pragma once

#include "base/address.h"

namespace seamless::mem {

// [hpa, hpa + bytes), whole pages, reads as zero afterwards; the host pays for no page that it did not pay
// for before.
void clear(Hpa hpa, u64 bytes);

} // namespace seamless::mem
