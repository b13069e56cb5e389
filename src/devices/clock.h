// SPDX-License-Identifier: Apache-2.0
// The time that devices show.
#pragma once

#include "base/bits.h"

namespace seamless::devices {

class Clock {
  public:
    virtual ~Clock() = default;
    // Seconds since the beginning of 1970, UTC.
    [[nodiscard]] virtual i64 seconds() const = 0;
    // Since an arbitrary moment; never goes back.
    [[nodiscard]] virtual u64 nanoseconds() const = 0;
};

} // namespace seamless::devices
