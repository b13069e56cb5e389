// SPDX-License-Identifier: Apache-2.0
// Callbacks run without the queue's lock: they take locks of vCPUs, whose holders arm timers.
#include "kvm/irqchip/host_timer.h"

#include <algorithm>
#include <chrono>
#include <csignal>

namespace seamless::kvm {

class TimerThread::Timer final : public HostTimer {
  public:
    Timer(TimerThread& owner, std::function<void()> on_expiry)
        : on_expiry_(std::move(on_expiry)), owner_(owner)
    {}
    ~Timer() override { owner_.forget(*this); }
    void arm(u64 deadline_ns) override { owner_.arm(*this, deadline_ns); }
    void cancel() override { owner_.cancel(*this); }

  private:
    friend class TimerThread;
    std::function<void()> on_expiry_;
    TimerThread& owner_;
    u64 deadline_ = 0;    // while queued
    bool queued_ = false; // both are guarded by the owner's mutex
};

std::thread start_quiet_thread(std::function<void()> body)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread thread(std::move(body)); // inherits the mask
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
}

TimerThread::~TimerThread()
{
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable())
        thread_.join();
}

std::unique_ptr<HostTimer> TimerThread::make(std::function<void()> on_expiry)
{
    return std::make_unique<Timer>(*this, std::move(on_expiry));
}

void TimerThread::start_locked()
{
    if (!thread_.joinable())
        thread_ = start_quiet_thread([this] { run(); });
}

void TimerThread::arm(Timer& timer, u64 deadline_ns)
{
    {
        const std::lock_guard lock(mutex_);
        if (timer.queued_)
            queue_.erase({timer.deadline_, &timer});
        timer.deadline_ = deadline_ns;
        timer.queued_ = true;
        queue_.insert({deadline_ns, &timer});
        start_locked();
        if (queue_.begin()->second != &timer)
            return; // the thread sleeps for something earlier
    }
    changed_.notify_one();
}

void TimerThread::cancel(Timer& timer)
{
    const std::lock_guard lock(mutex_);
    if (timer.queued_)
        queue_.erase({timer.deadline_, &timer});
    timer.queued_ = false;
}

void TimerThread::forget(Timer& timer)
{
    std::unique_lock lock(mutex_);
    if (timer.queued_)
        queue_.erase({timer.deadline_, &timer});
    timer.queued_ = false;
    done_.wait(lock, [&] { return running_ != &timer; });
}

void TimerThread::wait_for_work(std::unique_lock<std::mutex>& lock)
{
    if (queue_.empty())
        return changed_.wait(lock);
    // A clock that is not the host's may stand still: asking it again must not become a busy loop.
    constexpr u64 kShortest = 1'000, kLongest = 1'000'000'000;
    const u64 now = clock_.monotonic_ns(), deadline = queue_.begin()->first;
    const u64 ns = std::clamp(deadline > now ? deadline - now : 0, kShortest, kLongest);
    changed_.wait_for(lock, std::chrono::nanoseconds(ns));
}

void TimerThread::run()
{
    std::unique_lock lock(mutex_);
    while (!stop_) {
        if (queue_.empty() || queue_.begin()->first > clock_.monotonic_ns()) {
            wait_for_work(lock);
            continue;
        }
        Timer& timer = *queue_.begin()->second;
        queue_.erase(queue_.begin());
        timer.queued_ = false;
        running_ = &timer;
        lock.unlock();
        timer.on_expiry_();
        lock.lock();
        running_ = nullptr;
        done_.notify_all();
    }
}

} // namespace seamless::kvm
