// SPDX-License-Identifier: Apache-2.0
// The follower of the clock against clocks that drift, sleep and stand still; and the host's clock itself.
#include <atomic>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

#include "platform/host_clock.h"
#include "platform/tsc_follower.h"

namespace seamless::platform {
namespace {

using Line = base::TscLine;

// A counter, and a clock that it is compared with.
struct Follower : testing::Test {
    TscFollower follower;
    Line line;
    double ratio = 0.7; // ticks of the clock in one of the counter
    u64 host = 1'000'000'000;
    double ticks = 5e9;
    u64 last = 0;

    void pass(u64 cycles)
    {
        host += cycles;
        ticks += ratio * static_cast<double>(cycles);
    }
    // As a reader would: on the line while it lasts.
    u64 read(i64 noise = 0)
    {
        if (!line.covers(host))
            line = follower.next({host, static_cast<u64>(ticks) + static_cast<u64>(noise)});
        const u64 now = line.covers(host) ? line.at(host) : follower.read_directly(static_cast<u64>(ticks));
        EXPECT_GE(now, last);
        return last = now;
    }
    [[nodiscard]] i64 error() { return static_cast<i64>(read()) - static_cast<i64>(ticks); }
};

TEST_F(Follower, KnowsNothingAtFirst)
{
    EXPECT_EQ(read(), static_cast<u64>(ticks));
    EXPECT_EQ(line.rate, 0u);
    pass(Line::kCycles / 2);
    EXPECT_EQ(read(), static_cast<u64>(ticks));
    EXPECT_EQ(line.rate, 0u);
    pass(Line::kCycles);
    read();
    EXPECT_NE(line.rate, 0u);
}

TEST_F(Follower, StaysNearTheClock)
{
    for (unsigned i = 0; i < 100'000; ++i) {
        pass(100'003);
        EXPECT_LT(std::abs(error()), 50) << i;
    }
    EXPECT_NE(line.rate, 0u);
}

TEST_F(Follower, NoiseDoesNotMakeItGoBack)
{
    u64 random = 1;
    for (unsigned i = 0; i < 100'000; ++i) {
        random = random * 6364136223846793005 + 1442695040888963407;
        pass(random >> 40); // up to a line
        read(static_cast<i64>(random % 301) - 150);
    }
    EXPECT_LT(std::abs(error()), 1000);
}

TEST_F(Follower, FollowsWhatTheClockIsSlewedTo)
{
    for (unsigned i = 0; i < 1000; ++i) {
        pass(Line::kCycles / 3);
        read();
    }
    ratio *= 1.0003;
    for (unsigned i = 0; i < 20'000; ++i) {
        pass(Line::kCycles / 3);
        read();
    }
    EXPECT_LT(std::abs(error()), 200);
}

// Slewed by more than a line bends.
TEST_F(Follower, LosesNoClock)
{
    for (const double slew : {1.0, 0.9, 1.0, 1.08, 1.0}) {
        ratio = 0.7 * slew;
        for (unsigned i = 0; i < 20'000; ++i) {
            pass(Line::kCycles / 3);
            EXPECT_LT(std::abs(error()), 10'000'000) << "5 ms";
        }
    }
    EXPECT_LT(std::abs(error()), 200);
}

// The counter counts on, the clock does not.
TEST_F(Follower, TheHostSleeps)
{
    for (const u64 before : {10u, 1000u}) {
        for (unsigned i = 0; i < before; ++i) {
            pass(Line::kCycles / 3);
            read();
        }
        host += 2'500'000'000;
        for (unsigned i = 0; i < 100; ++i) {
            pass(Line::kCycles / 3);
            EXPECT_LT(std::abs(error()), 24'000'000) << "what was left of a line";
        }
        EXPECT_LT(std::abs(error()), 200);
    }
}

TEST_F(Follower, BehindAPauseItIsWhereTheClockIs)
{
    for (unsigned i = 0; i < 100; ++i) {
        pass(Line::kCycles / 3);
        read();
    }
    pass(50 * Line::kCycles);
    EXPECT_LT(std::abs(error()), 50);
    pass(bit(34));
    EXPECT_LT(std::abs(error()), 50);
    EXPECT_EQ(line.rate, 0u) << "what was measured long ago means nothing";
}

TEST_F(Follower, ACounterThatBeginsAgain)
{
    for (unsigned i = 0; i < 100; ++i) {
        pass(Line::kCycles / 3);
        read();
    }
    host = 5;
    ticks += 1e6;
    for (unsigned i = 0; i < 100; ++i) {
        pass(Line::kCycles / 3);
        EXPECT_LT(std::abs(error()), 12'000'000) << "at most the rest of a line ahead";
    }
    EXPECT_LT(std::abs(error()), 200);
}

TEST_F(Follower, ACounterTooSlowForALineHasNone)
{
    ratio = 5;
    for (unsigned i = 0; i < 100; ++i) {
        pass(Line::kCycles / 3);
        EXPECT_LT(std::abs(error()), 2);
    }
    EXPECT_EQ(line.rate, 0u);
}

TEST(HostClock, IsTheMonotonicClock)
{
    HostClock clock;
    const u64 ns = clock.monotonic_ns(), tsc = clock.tsc();
    u64 last = tsc;
    while (clock.monotonic_ns() < ns + 50'000'000) {
        const u64 now = clock.tsc();
        ASSERT_GE(now, last);
        last = now;
    }
    const u64 behind = clock.monotonic_ns();
    const u64 passed = clock.tsc() - tsc, expected = (behind - ns) * (clock.tsc_hz() / 1'000'000'000);
    EXPECT_NEAR(static_cast<double>(passed), static_cast<double>(expected), 4e6) << "2 ms";
}

// As processors read it: on the line they know, and by the clock where that has ended.
class Reader {
  public:
    explicit Reader(HostClock& clock) : clock_(clock) {}
    u64 read()
    {
        __builtin_ia32_lfence();
        if (const u64 host = __builtin_ia32_rdtsc(); line_.covers(host))
            return line_.at(host);
        const u64 now = clock_.tsc();
        line_ = clock_.tsc_line();
        return now;
    }

  private:
    HostClock& clock_;
    Line line_;
};

// What one thread has read and told another, that one's clock is past.
TEST(HostClock, GoesBackForNoThread)
{
    HostClock clock;
    std::atomic<u64> newest = 0;
    std::atomic<unsigned> wrong = 0;
    const u64 until = clock.monotonic_ns() + 100'000'000;
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 3; ++i)
        threads.emplace_back([&, i] {
            Reader reader(clock);
            while (clock.monotonic_ns() < until) {
                u64 told = newest.load();
                const u64 now = i == 0 ? clock.tsc() : reader.read();
                wrong += now < told;
                while (told < now && !newest.compare_exchange_weak(told, now)) {
                }
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(wrong, 0u);
}

} // namespace
} // namespace seamless::platform
