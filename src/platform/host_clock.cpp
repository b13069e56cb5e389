// SPDX-License-Identifier: Apache-2.0
// CLOCK_MONOTONIC, the host's counter where the kernel too takes it for a clock, CLOCK_REALTIME and
// getrandom().
#include "platform/host_clock.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <string>
#include <sys/random.h>
#include <x86intrin.h>

namespace seamless::platform {
namespace {

u64 read_clock(clockid_t which)
{
    timespec now{};
    clock_gettime(which, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

// Not before what the program did before.
u64 read_counter()
{
    _mm_lfence();
    return __rdtsc();
}

bool counter_is_a_clock()
{
    std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    std::string name;
    return std::getline(file, name) && name == "tsc";
}

} // namespace

u64 host_monotonic_ns() { return read_clock(CLOCK_MONOTONIC); }

HostClock::HostClock() : start_ns_(host_monotonic_ns()), has_counter_(counter_is_a_clock()) {}

u64 HostClock::monotonic_ns() { return host_monotonic_ns(); }
u64 HostClock::realtime_ns() { return read_clock(CLOCK_REALTIME); }

u64 HostClock::ticks() const
{
    const u64 now = host_monotonic_ns();
    return (now - std::min(now, start_ns_)) * (kTscHz / 1'000'000'000);
}

u64 HostClock::tsc()
{
    if (!has_counter_)
        return ticks();
    const u64 host = read_counter();
    const base::TscLine line = tsc_line();
    return line.covers(host) ? line.at(host) : next_line();
}

base::TscLine HostClock::tsc_line()
{
    const u64 version = version_.load(std::memory_order_acquire);
    const base::TscLine line{.from = from_.load(std::memory_order_acquire),
                             .base = base_.load(std::memory_order_acquire),
                             .rate = rate_.load(std::memory_order_acquire)};
    const bool whole = !(version & 1) && version_.load(std::memory_order_relaxed) == version;
    return whole ? line : base::TscLine{};
}

void HostClock::publish(const base::TscLine& line)
{
    const u64 version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    from_.store(line.from, std::memory_order_release);
    base_.store(line.base, std::memory_order_release);
    rate_.store(line.rate, std::memory_order_release);
    version_.store(version + 2, std::memory_order_release);
}

// Nothing where this thread was interrupted between the two too often.
std::optional<ClockReading> HostClock::read_both() const
{
    constexpr unsigned kTries = 4;
    constexpr u64 kClose = 1000; // cycles
    for (unsigned i = 0; i < kTries; ++i) {
        const ClockReading reading{.host = read_counter(), .ticks = ticks()};
        if (read_counter() - reading.host < kClose)
            return reading;
    }
    return {};
}

u64 HostClock::next_line()
{
    const std::lock_guard lock(mutex_);
    const base::TscLine current = tsc_line();
    if (const u64 host = read_counter(); current.covers(host)) // another thread has been here meanwhile
        return current.at(host);
    if (!given_up_)
        follow();
    const base::TscLine line = tsc_line();
    if (const u64 host = read_counter(); line.covers(host))
        return line.at(host);
    return follower_.read_directly(ticks());
}

// Where a line could not be continued, the host's kernel may have learnt that the counter is no clock.
void HostClock::follow()
{
    constexpr unsigned kEnough = 64;
    const std::optional<ClockReading> reading = read_both();
    failures_ = reading ? 0 : failures_ + 1;
    if (reading) {
        const bool had_line = tsc_line().rate != 0;
        publish(follower_.next(*reading));
        given_up_ = had_line && tsc_line().rate == 0 && !counter_is_a_clock();
    }
    given_up_ |= failures_ == kEnough;
}

bool HostRandom::fill(std::span<u8> out)
{
    while (!out.empty()) {
        const ssize_t n = getrandom(out.data(), out.size(), 0);
        if (n <= 0)
            return false;
        out = out.subspan(static_cast<std::size_t>(n));
    }
    return true;
}

} // namespace seamless::platform
