// SPDX-License-Identifier: Apache-2.0
// Where time and entropy come from. No layer reads a host clock or host entropy but through these ports, so
// that a deterministic run (docs/architecture.md) can replace them.
#pragma once

#include <span>

#include "base/bits.h"

namespace seamless::base {

// What a clock's tsc() gives while the host's own counter (RDTSC) counts from `from` up to `from` + kCycles.
// The same for all threads: processors read it without asking the clock.
struct TscLine {
    static constexpr unsigned kCyclesLog2 = 24, kRateLog2 = 32;
    static constexpr u64 kCycles = bit(kCyclesLog2);

    u64 from = 0;
    u64 base = 0; // tsc() at `from`
    u64 rate = 0; // ticks of tsc() in bit(kRateLog2) of the host's; 0: no line. Less than bit(34)

    [[nodiscard]] bool covers(u64 host) const { return rate != 0 && host - from < kCycles; }
    [[nodiscard]] u64 at(u64 host) const { return base + ((host - from) * rate >> kRateLog2); }
    [[nodiscard]] u64 end() const { return at(from + kCycles); }
};

class Clock {
  public:
    virtual ~Clock() = default;
    // The simulated host's time-stamp counter, and its fixed frequency in Hz.
    [[nodiscard]] virtual u64 tsc() = 0;
    [[nodiscard]] virtual u64 tsc_hz() = 0;
    // The line that the last tsc() was on, if it was on one.
    [[nodiscard]] virtual TscLine tsc_line() { return {}; }
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
