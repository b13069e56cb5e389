// SPDX-License-Identifier: Apache-2.0
// CLOCK_MONOTONIC, CLOCK_REALTIME and getrandom().
#include "platform/host_clock.h"

#include <ctime>
#include <sys/random.h>

namespace seamless::platform {

static u64 read_clock(clockid_t which)
{
    timespec now{};
    clock_gettime(which, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

HostClock::HostClock() : start_ns_(monotonic_ns()) {}

u64 HostClock::monotonic_ns() { return read_clock(CLOCK_MONOTONIC); }
u64 HostClock::realtime_ns() { return read_clock(CLOCK_REALTIME); }

u64 HostClock::tsc() { return (monotonic_ns() - start_ns_) * (kTscHz / 1'000'000'000); }

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
