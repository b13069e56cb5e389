// SPDX-License-Identifier: Apache-2.0
// Follows the host's clock by the host's counter: short lines, each beginning where the one before it ends,
// with slopes that keep them near the clock. What is read on them never goes back.
#pragma once

#include "base/host_ports.h"

namespace seamless::platform {

// The host's counter, and what the clock said just behind that, in ticks of the simulated counter.
struct ClockReading {
    u64 host = 0;
    u64 ticks = 0;
};

class TscFollower {
  public:
    using Line = base::TscLine;

    // The counter is behind the last line's end: the next line. None (`rate` 0) while too little is known, or
    // if the counter was not what it should be (the host slept); then the clock itself has to be read.
    [[nodiscard]] Line next(const ClockReading& reading);

    // The clock itself was read: nothing later may be less than what this returns.
    [[nodiscard]] u64 read_directly(u64 ticks);

  private:
    [[nodiscard]] u64 measured_rate(const ClockReading& reading);
    [[nodiscard]] Line continued(const ClockReading& reading, u64 rate) const;
    [[nodiscard]] bool lost(const ClockReading& reading) const;
    void begin_again(const ClockReading& reading);

    ClockReading first_, second_; // since when the rate is measured, and since when it will be
    ClockReading last_;
    Line line_;
    u64 floor_ = 0;
};

} // namespace seamless::platform
