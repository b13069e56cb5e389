// SPDX-License-Identifier: Apache-2.0
// The timer thread in real time: order, cancellation, and that a timer that is gone does not call any more.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "kvm/irqchip/host_timer.h"

namespace seamless::kvm {
namespace {

class RealClock final : public base::Clock {
  public:
    u64 tsc() override { return monotonic_ns(); }
    u64 tsc_hz() override { return 1'000'000'000; }
    u64 monotonic_ns() override
    {
        return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
    }
    u64 realtime_ns() override { return monotonic_ns(); }
};

constexpr u64 kMs = 1'000'000;

TEST(TimerThread, FiresInOrderAndNeverEarly)
{
    RealClock clock;
    TimerThread timers(clock);
    std::atomic<int> fired{0};
    std::atomic<bool> early{false};
    std::atomic<int> first{-1}, second{-1};
    const u64 start = clock.monotonic_ns(); // deadlines leave room for a thread that a busy machine holds up
    auto late = timers.make([&] {
        early = early || clock.monotonic_ns() < start + 120 * kMs;
        second = fired.fetch_add(1);
    });
    auto soon = timers.make([&] {
        early = early || clock.monotonic_ns() < start + 30 * kMs;
        first = fired.fetch_add(1);
    });
    auto never = timers.make([&] { fired = 100; });
    late->arm(start + 120 * kMs);
    never->arm(start + 60 * kMs);
    soon->arm(start + 30 * kMs);
    never->cancel();
    while (second < 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(first, 0);
    EXPECT_EQ(second, 1);
    EXPECT_FALSE(early);
}

TEST(TimerThread, ACallbackMayArmItsOwnTimer)
{
    RealClock clock;
    TimerThread timers(clock);
    std::atomic<int> fired{0};
    HostTimer* self = nullptr;
    auto timer = timers.make([&] {
        if (fired.fetch_add(1) < 4)
            self->arm(clock.monotonic_ns() + kMs);
    });
    self = timer.get();
    timer->arm(0);
    while (fired < 5)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(fired, 5);
}

TEST(TimerThread, DestructionWaitsForACallback)
{
    RealClock clock;
    TimerThread timers(clock);
    std::atomic<bool> inside{false}, ended{false};
    auto timer = timers.make([&] {
        inside = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ended = true;
    });
    timer->arm(0);
    while (!inside)
        std::this_thread::yield();
    timer.reset();
    EXPECT_TRUE(ended);
}

TEST(TimerThread, SeveralThreadsArmAndCancel)
{
    RealClock clock;
    TimerThread timers(clock);
    std::atomic<u64> fired{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (unsigned i = 0; i < 200; ++i) {
                auto timer = timers.make([&] { fired.fetch_add(1); });
                timer->arm(clock.monotonic_ns() + (i + t) % 3 * 20'000);
                if (i % 2)
                    timer->cancel();
                timer->arm(clock.monotonic_ns());
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_LE(fired, 2u * 4u * 200u);
}

} // namespace
} // namespace seamless::kvm
