// SPDX-License-Identifier: Apache-2.0
// A device's thread: what it holds while it works, who waits for it, how it ends.
#include "vmm/device_thread.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <gtest/gtest.h>
#include <semaphore>
#include <string>

namespace seamless::vmm {
namespace {

using namespace std::chrono_literals;

// Has work of which each piece takes until the test says so.
struct Laborious : devices::virtio::Device {
    explicit Laborious(std::mutex& m) : machine(m) {}
    devices::virtio::DeviceId id() const override { return devices::virtio::DeviceId::entropy; }
    u64 features() const override { return 0; }
    unsigned queues() const override { return 1; }
    bool take() override
    {
        if (work == 0)
            return false;
        --work;
        history += 't';
        return true;
    }
    void perform() override
    {
        lock_was_free = machine.try_lock();
        if (lock_was_free)
            machine.unlock();
        pthread_sigmask(SIG_BLOCK, nullptr, &mask);
        performing.release();
        go_on.acquire();
    }
    void finish() override
    {
        history += 'f';
        finished.release();
    }

    std::mutex& machine;
    unsigned work = 0;
    std::string history;
    std::atomic<bool> lock_was_free = false;
    sigset_t mask{};
    std::counting_semaphore<> performing{0}, go_on{0}, finished{0};
};

struct DeviceThreadTest : testing::Test {
    std::mutex machine;
    Laborious device{machine};
    std::optional<DeviceThread> thread{std::in_place, machine, device};

    void give_work(unsigned pieces)
    {
        const std::lock_guard lock(machine);
        device.work += pieces;
        thread->wake();
    }
    static bool happens(std::counting_semaphore<>& what) { return what.try_acquire_for(60s); }
};

TEST_F(DeviceThreadTest, PerformsWithoutTheMachinesLockAndWithoutItsSignals)
{
    thread->start();
    give_work(1);
    ASSERT_TRUE(happens(device.performing));
    EXPECT_TRUE(device.lock_was_free);
    for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGALRM})
        EXPECT_EQ(sigismember(&device.mask, number), 1) << number;
    for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
        EXPECT_EQ(sigismember(&device.mask, number), 0) << number;
    device.go_on.release();
    ASSERT_TRUE(happens(device.finished));
}

TEST_F(DeviceThreadTest, QuiescingWaitsForTheBufferThatIsBeingPerformed)
{
    thread->start();
    give_work(1);
    ASSERT_TRUE(happens(device.performing));
    auto quiet = std::async(std::launch::async, [&] {
        const std::lock_guard lock(machine);
        thread->quiesce();
        return device.history;
    });
    EXPECT_EQ(quiet.wait_for(50ms), std::future_status::timeout);
    {
        const std::lock_guard lock(machine); // which quiesce() has given up
        EXPECT_EQ(device.history, "t");
    }
    device.go_on.release();
    EXPECT_EQ(quiet.get(), "tf");
}

TEST_F(DeviceThreadTest, QuiescingAnIdleThreadWaitsForNothing)
{
    thread->start();
    const std::lock_guard lock(machine);
    thread->quiesce();
    EXPECT_EQ(device.history, "");
}

TEST_F(DeviceThreadTest, WorkThatComesWhileItWorksIsNotForgotten)
{
    thread->start();
    give_work(1);
    ASSERT_TRUE(happens(device.performing));
    give_work(1);
    device.go_on.release();
    ASSERT_TRUE(happens(device.performing));
    device.go_on.release();
    ASSERT_TRUE(happens(device.finished));
    ASSERT_TRUE(happens(device.finished));
    const std::lock_guard lock(machine);
    EXPECT_EQ(device.history, "tftf");
}

TEST_F(DeviceThreadTest, EndsWithTheBufferThatIsBeingPerformedAndLeavesTheRest)
{
    thread->start();
    give_work(5);
    ASSERT_TRUE(happens(device.performing));
    auto ended = std::async(std::launch::async, [&] { thread.reset(); });
    EXPECT_EQ(ended.wait_for(50ms), std::future_status::timeout);
    device.go_on.release();
    ended.get();
    EXPECT_EQ(device.history, "tf");
    EXPECT_EQ(device.work, 4u);
}

TEST_F(DeviceThreadTest, OneThatWasNeverStartedEnds)
{
    thread.reset();
    EXPECT_EQ(device.history, "");
}

} // namespace
} // namespace seamless::vmm
