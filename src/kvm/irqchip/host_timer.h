// SPDX-License-Identifier: Apache-2.0
// Timers of the host, as APIC timers need them: a port, so that tests can let time pass as they like, and the
// thread that serves it otherwise.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "base/host_ports.h"

namespace seamless::kvm {

class HostTimer {
  public:
    // When it is gone, its callback does not run any more.
    virtual ~HostTimer() = default;
    // Runs the callback once `deadline` (Clock::monotonic_ns) is reached. Replaces an earlier deadline.
    virtual void arm(u64 deadline_ns) = 0;
    // Does not wait for a callback that runs already: callbacks look whether they are still wanted.
    virtual void cancel() = 0;
};

class HostTimers {
  public:
    virtual ~HostTimers() = default;
    [[nodiscard]] virtual std::unique_ptr<HostTimer> make(std::function<void()> on_expiry) = 0;
};

// One thread, which starts with the first timer that is armed and sleeps until the next deadline.
class TimerThread final : public HostTimers {
  public:
    explicit TimerThread(base::Clock& clock) : clock_(clock) {}
    ~TimerThread() override;
    TimerThread(const TimerThread&) = delete;
    TimerThread& operator=(const TimerThread&) = delete;
    [[nodiscard]] std::unique_ptr<HostTimer> make(std::function<void()> on_expiry) override;

  private:
    class Timer;
    void arm(Timer& timer, u64 deadline_ns);
    void cancel(Timer& timer);
    void forget(Timer& timer);
    void start_locked();
    void run();
    void wait_for_work(std::unique_lock<std::mutex>& lock);

    base::Clock& clock_;
    std::mutex mutex_;
    std::condition_variable changed_; // the queue, or stop_
    std::condition_variable done_;    // a callback ended
    std::set<std::pair<u64, Timer*>> queue_;
    Timer* running_ = nullptr;
    bool stop_ = false;
    std::thread thread_;
};

// A thread of ours in the VMM's process: its signals are the VMM's, so none is delivered here.
[[nodiscard]] std::thread start_quiet_thread(std::function<void()> body);

} // namespace seamless::kvm
