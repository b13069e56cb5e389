// SPDX-License-Identifier: Apache-2.0
// Stops guests that never exit: while a Budget lives, a signal every few milliseconds interrupts the thread
// that made it, and the handler does what makes a guest leave.
#pragma once

#include <atomic>
#include <csignal>
#include <ctime>
#include <sys/syscall.h>
#include <unistd.h>

namespace seamless::fuzz {

class Budget {
  public:
    using Stop = void (*)(void*);

    // `stop` is called in a signal handler.
    Budget(Stop stop, void* argument)
    {
        stop_ = stop;
        argument_ = argument;
        struct sigaction action {};
        action.sa_handler = [](int) { stop_.load()(argument_.load()); };
        action.sa_flags = SA_ONSTACK;
        sigaction(SIGUSR2, &action, &old_);
        struct sigevent event {};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGUSR2;
        event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
        timer_create(CLOCK_MONOTONIC, &event, &timer_);
        const itimerspec every{{0, kPeriodNs}, {0, kPeriodNs}};
        timer_settime(timer_, 0, &every, nullptr);
    }
    ~Budget()
    {
        timer_delete(timer_);
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN; // drops one that is still pending
        sigaction(SIGUSR2, &ignore, nullptr);
        sigaction(SIGUSR2, &old_, nullptr);
    }
    Budget(const Budget&) = delete;
    Budget& operator=(const Budget&) = delete;

  private:
    static constexpr long kPeriodNs = 5'000'000;
    static inline std::atomic<Stop> stop_ = nullptr;
    static inline std::atomic<void*> argument_ = nullptr;
    struct sigaction old_ {};
    timer_t timer_{};
};

} // namespace seamless::fuzz
