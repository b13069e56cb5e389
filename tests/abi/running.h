// SPDX-License-Identifier: Apache-2.0
// Orders for a TdRobot that take their time, and vCPUs that carry them out on threads of their own.
#pragma once

#include <thread>

#include "abi/td_robot.h"

namespace seamless::abi {

inline Mailbox access(Mailbox::Order what, u64 address, u64 to = 0)
{
    Mailbox order{};
    order.order = what;
    order.rdi = address;
    order.rsi = to;
    return order;
}

// A vCPU that runs on a thread of its own until its order is done, or KVM_RUN says something else.
class Running {
  public:
    // `on_exit`: true to run again.
    Running(TdRobot& td, unsigned n, const Mailbox& order, std::function<bool(long)> on_exit = {})
        : td_(td), n_(n), on_exit_(std::move(on_exit))
    {
        td.give(n, order);
        thread_ = std::thread([this] {
            do
                result = td_.run_once(n_);
            while (on_exit_ && on_exit_(result));
        });
    }
    ~Running() { join(); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    void wait_for_rounds(u64 more)
    {
        const u64 goal = td_.mailbox(n_).rounds + more;
        while (td_.mailbox(n_).rounds < goal)
            std::this_thread::yield();
    }
    void stop()
    {
        td_.mailbox(n_).stop = 1;
        join();
    }
    void join()
    {
        if (thread_.joinable())
            thread_.join();
    }
    long result = 0;

  private:
    TdRobot& td_;
    unsigned n_;
    std::function<bool(long)> on_exit_;
    std::thread thread_;
};

} // namespace seamless::abi
