// SPDX-License-Identifier: Apache-2.0
// KVM_IRQFD: a write to an eventfd raises a GSI. One thread per VM waits for all of them; it starts with the
// first.
#pragma once

#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/errno.h"
#include "base/result.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class Vm;

class Irqfds {
  public:
    explicit Irqfds(Vm& vm) : vm_(vm) {}
    ~Irqfds() { shut_down(); }
    Irqfds(const Irqfds&) = delete;
    Irqfds& operator=(const Irqfds&) = delete;

    [[nodiscard]] Result<void, Errno> ioctl(const spec::kvm::kvm_irqfd& args);
    // Stops the thread: after it, no interrupt comes from here.
    void shut_down();

  private:
    struct Source {
        u64 identity; // of the eventfd
        u32 gsi;
    };
    [[nodiscard]] Result<void, Errno> assign(const spec::kvm::kvm_irqfd& args);
    [[nodiscard]] Result<void, Errno> deassign(const spec::kvm::kvm_irqfd& args);
    [[nodiscard]] Result<void, Errno> start();
    void run();
    void raise(int fd);

    Vm& vm_;
    std::mutex mutex_;
    std::unordered_map<int, Source> sources_; // by our descriptor
    int epoll_ = -1, stop_ = -1;
    std::thread thread_;
};

} // namespace seamless::kvm
