// SPDX-License-Identifier: Apache-2.0
// KVM_SET_SIGNAL_MASK: signals that a VMM blocks but lets through during KVM_RUN. They end it with EINTR and
// stay pending: their handlers do not run.
#pragma once

#include <csignal>
#include <optional>

#include "base/bits.h"

namespace seamless::kvm {
class Vcpu;
}

namespace seamless::uapi {

// Bit n - 1 is signal n, as in a kernel's sigset_t.
class SignalMaskScope {
  public:
    SignalMaskScope(kvm::Vcpu& vcpu, u64 mask);
    ~SignalMaskScope();
    SignalMaskScope(const SignalMaskScope&) = delete;
    SignalMaskScope& operator=(const SignalMaskScope&) = delete;

  private:
    static void on_signal(int signal, siginfo_t* info, void* context);
    void install_handlers(const sigset_t& during);

    static constexpr unsigned kMost = 64; // each signal is caught once: then it is blocked again
    kvm::Vcpu& vcpu_;
    sigset_t before_{};
    u64 expected_ = 0;
    volatile unsigned count_ = 0;
    siginfo_t caught_[kMost];
};

} // namespace seamless::uapi
