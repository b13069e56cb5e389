// SPDX-License-Identifier: Apache-2.0
// The slope is what was measured over seconds, and what brings the line back to the clock within some lines.
#include "platform/tsc_follower.h"

#include <algorithm>

namespace seamless::platform {
namespace {

constexpr u64 kLeast = base::TscLine::kCycles; // cycles over which a rate is measured
constexpr u64 kLongSilence = bit(32);          // after which it is measured anew
constexpr u64 kMeasured = bit(34);             // seconds
constexpr u64 kRateLimit = bit(34);            // TscLine::rate
constexpr i64 kLinesToTheClock = 16;           // in so many a line comes back to the clock
constexpr u64 kTooFar = bit(22); // ticks between a line and the clock: no bend brings it back soon
constexpr u64 kSteepest = 2048;  // and this part of the rate is the most that it bends

} // namespace

void TscFollower::begin_again(const ClockReading& reading)
{
    first_ = second_ = reading;
    line_ = {};
}

// The clock has stepped, or is slewed faster than a line bends.
bool TscFollower::lost(const ClockReading& reading) const
{
    if (line_.rate == 0)
        return false;
    const auto ticks = static_cast<unsigned __int128>(reading.host - line_.from) * line_.rate;
    const u64 expected = line_.base + static_cast<u64>(ticks >> base::TscLine::kRateLog2);
    return std::max(expected, reading.ticks) - std::min(expected, reading.ticks) > kTooFar;
}

// 0: not known yet.
u64 TscFollower::measured_rate(const ClockReading& reading)
{
    const u64 cycles = reading.host - first_.host;
    if (cycles < kLeast)
        return 0;
    const auto ticks = static_cast<unsigned __int128>(reading.ticks - first_.ticks);
    const auto rate = static_cast<u64>((ticks << base::TscLine::kRateLog2) / cycles);
    if (reading.host - second_.host > kMeasured) {
        first_ = second_;
        second_ = reading;
    }
    return rate < kRateLimit - kRateLimit / kSteepest ? rate : 0;
}

// The line that begins where the last one ends.
TscFollower::Line TscFollower::continued(const ClockReading& reading, u64 rate) const
{
    Line line{.from = line_.from + Line::kCycles, .base = line_.end(), .rate = rate};
    const auto behind = static_cast<i64>(reading.ticks - line.at(reading.host));
    const auto most = static_cast<i64>(rate / kSteepest);
    constexpr i64 kPerTick = bit(base::TscLine::kRateLog2 - base::TscLine::kCyclesLog2);
    const i64 limit = most * kLinesToTheClock / kPerTick;
    line.rate += static_cast<u64>(std::clamp(behind, -limit, limit) * kPerTick / kLinesToTheClock);
    return line;
}

TscFollower::Line TscFollower::next(const ClockReading& reading)
{
    if (line_.rate != 0)
        floor_ = std::max(floor_, line_.end());
    const bool went_back = reading.host < last_.host || reading.ticks < last_.ticks;
    if (last_.host == 0 || went_back || reading.host - last_.host > kLongSilence || lost(reading))
        begin_again(reading);
    last_ = reading;
    const u64 rate = measured_rate(reading);
    if (rate == 0)
        return line_ = {};
    Line line;
    if (line_.rate != 0)
        line = continued(reading, rate);
    if (!line.covers(reading.host) || line.at(reading.host) < floor_)
        line = {.from = reading.host, .base = std::max(reading.ticks, floor_), .rate = rate};
    return line_ = line;
}

u64 TscFollower::read_directly(u64 ticks)
{
    return floor_ = std::max({ticks, floor_, line_.rate != 0 ? line_.end() : 0});
}

} // namespace seamless::platform
