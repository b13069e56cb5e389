// SPDX-License-Identifier: Apache-2.0
// Where time and entropy come from. No layer reads a host clock or host entropy but through these ports, so
// that a deterministic run (docs/architecture.md) can replace them.
#pragma once

#include <span>

#include "base/bits.h"

namespace seamless::base {

class Clock {
  public:
    virtual ~Clock() = default;
    // The simulated host's time-stamp counter, and its fixed frequency in Hz.
    [[nodiscard]] virtual u64 tsc() = 0;
    [[nodiscard]] virtual u64 tsc_hz() = 0;
    // CLOCK_MONOTONIC in ns.
    [[nodiscard]] virtual u64 monotonic_ns() = 0;
    // CLOCK_REALTIME in ns: the wall clock that a guest is told.
    [[nodiscard]] virtual u64 realtime_ns() = 0;
};

class Random {
  public:
    virtual ~Random() = default;
    // Fills `out`; false if there is no entropy now (RDRAND with CF = 0, RND_NO_ENTROPY).
    [[nodiscard]] virtual bool fill(std::span<u8> out) = 0;
};

} // namespace seamless::base
