// SPDX-License-Identifier: Apache-2.0
// The ports of time and entropy over the host's own. The TSC has a fixed frequency, whatever the host's is.
#pragma once

#include "base/host_ports.h"

namespace seamless::platform {

class HostClock : public base::Clock {
  public:
    HostClock();
    [[nodiscard]] u64 tsc() override;
    [[nodiscard]] u64 tsc_hz() override { return kTscHz; }
    [[nodiscard]] u64 monotonic_ns() override;
    [[nodiscard]] u64 realtime_ns() override;

  private:
    // A multiple of 25 MHz, the unit in which a TD's frequency is given, and of 1 GHz, so that ns convert
    // exactly.
    static constexpr u64 kTscHz = 2'000'000'000;
    u64 start_ns_;
};

class HostRandom : public base::Random {
  public:
    [[nodiscard]] bool fill(std::span<u8> out) override;
};

} // namespace seamless::platform
