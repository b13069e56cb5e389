// SPDX-License-Identifier: Apache-2.0
// The ports of time and entropy over the host's own. The TSC has a fixed frequency, whatever the host's is.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>

#include "base/host_ports.h"
#include "platform/tsc_follower.h"

namespace seamless::platform {

// CLOCK_MONOTONIC in ns.
[[nodiscard]] u64 host_monotonic_ns();

class HostClock : public base::Clock {
  public:
    HostClock();
    [[nodiscard]] u64 tsc() override;
    [[nodiscard]] u64 tsc_hz() override { return kTscHz; }
    [[nodiscard]] base::TscLine tsc_line() override;
    [[nodiscard]] u64 monotonic_ns() override;
    [[nodiscard]] u64 realtime_ns() override;

  private:
    [[nodiscard]] u64 ticks() const; // by CLOCK_MONOTONIC
    [[nodiscard]] std::optional<ClockReading> read_both() const;
    [[nodiscard]] u64 next_line();
    void follow();
    void publish(const base::TscLine& line);

    // A multiple of 25 MHz, the unit in which a TD's frequency is given, and of 1 GHz, so that ns convert
    // exactly.
    static constexpr u64 kTscHz = 2'000'000'000;
    u64 start_ns_;
    const bool has_counter_; // that counts evenly, the same on all processors of the host
    std::mutex mutex_;
    // Under the mutex:
    TscFollower follower_;
    bool given_up_ = false; // the counter turned out to be none
    unsigned failures_ = 0; // to read it beside the clock, in a row
    // The line for all threads: odd while it is being changed.
    std::atomic<u64> version_ = 0, from_ = 0, base_ = 0, rate_ = 0;
};

class HostRandom : public base::Random {
  public:
    [[nodiscard]] bool fill(std::span<u8> out) override;
};

} // namespace seamless::platform
