// SPDX-License-Identifier: Apache-2.0
// The processor package: its logical processors, and which host thread has borrowed which of them. A thread
// in an ioctl that runs a guest or executes SEAMCALL borrows one, as a kernel thread runs on one.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/host_ports.h"
#include "cpu/logical_processor.h"
#include "mem/host_memory.h"
#include "trace/trace.h"

namespace seamless::cpu {

class Package;
using LpFactory = std::function<std::unique_ptr<LogicalProcessor>(Package&, unsigned id)>;

inline constexpr unsigned kLogicalProcessors = 64;

class Package {
  public:
    // `make_lp` makes each logical processor: ProcessorFactory of processor.h, or a test's fake.
    Package(unsigned logical_processors, const LpFactory& make_lp, mem::HostMemory& memory,
            base::Clock& clock, base::Random& random, trace::Tracer& tracer);
    ~Package();
    Package(const Package&) = delete;
    Package& operator=(const Package&) = delete;

    [[nodiscard]] unsigned count() const { return static_cast<unsigned>(lps_.size()); }
    [[nodiscard]] LogicalProcessor& lp(unsigned id) { return *lps_[id]; }
    [[nodiscard]] mem::HostMemory& memory() { return memory_; }
    [[nodiscard]] base::Clock& clock() { return clock_; }
    [[nodiscard]] base::Random& random() { return random_; }
    [[nodiscard]] trace::Tracer& tracer() { return tracer_; }

    // Borrows a logical processor, `hint` if it is free; waits while all are taken.
    [[nodiscard]] LogicalProcessor& acquire(unsigned hint);
    void release(LogicalProcessor& lp);

  private:
    [[nodiscard]] bool take(unsigned id);
    [[nodiscard]] LogicalProcessor* take_any();

    mem::HostMemory& memory_;
    base::Clock& clock_;
    base::Random& random_;
    trace::Tracer& tracer_;
    std::vector<std::unique_ptr<LogicalProcessor>> lps_;
    std::vector<std::atomic<bool>> taken_;
    // Only for those who find none free.
    std::mutex mutex_;
    std::condition_variable released_;
    std::atomic<unsigned> waiting_ = 0;
};

// A logical processor for the length of a scope.
class BorrowedLp {
  public:
    BorrowedLp(Package& package, unsigned hint) : package_(package), lp_(package.acquire(hint)) {}
    ~BorrowedLp() { package_.release(lp_); }
    BorrowedLp(const BorrowedLp&) = delete;
    BorrowedLp& operator=(const BorrowedLp&) = delete;

    [[nodiscard]] LogicalProcessor& operator*() { return lp_; }
    [[nodiscard]] LogicalProcessor* operator->() { return &lp_; }

  private:
    Package& package_;
    LogicalProcessor& lp_;
};

} // namespace seamless::cpu
