// SPDX-License-Identifier: Apache-2.0
// A process cannot learn of a blocked signal without taking it: so it is taken, kept, and sent to the thread
// again once it is blocked again. DEVIATION: one that was sent to the whole process then waits for this
// thread alone.
#include "uapi/signal_mask.h"

#include <mutex>
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/signal_handler.h"
#include "kvm/vcpu.h"

namespace seamless::uapi {

namespace {

constexpr int kSignals = 64;

thread_local SignalMaskScope* t_scope = nullptr;
std::mutex handlers_mutex;
struct sigaction previous[kSignals + 1]; // the VMM's own

u64 bit_of(int signal) { return bit(static_cast<unsigned>(signal) - 1); }

// Faults of translated code are ours, whatever the mask says.
bool may_be_masked(int signal)
{
    return signal != SIGKILL && signal != SIGSTOP && signal != SIGSEGV && signal != SIGBUS &&
           signal != SIGFPE && signal != SIGILL && signal != SIGTRAP;
}

void pass_on(int signal, siginfo_t* info, void* context)
{
    const struct sigaction& old = previous[signal];
    if (old.sa_flags & SA_SIGINFO)
        return old.sa_sigaction(signal, info, context);
    if (old.sa_handler == SIG_IGN || (old.sa_handler == SIG_DFL && (signal == SIGCHLD || signal == SIGURG ||
                                                                    signal == SIGWINCH || signal == SIGCONT)))
        return;
    if (old.sa_handler != SIG_DFL)
        return old.sa_handler(signal);
    ::signal(signal, SIG_DFL);
    (void)raise(signal);
}

} // namespace

// Runs on the thread that is in KVM_RUN, or on any other where the signal is not blocked.
void SignalMaskScope::on_signal(int signal, siginfo_t* info, void* context)
{
    SignalMaskScope* scope = t_scope;
    if (!scope || !(scope->expected_ & bit_of(signal)) || scope->count_ == kMost)
        return pass_on(signal, info, context);
    scope->caught_[scope->count_] = *info;
    scope->count_ = scope->count_ + 1;
    sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, signal);
    scope->vcpu_.signal_arrived();
}

void SignalMaskScope::install_handlers(const sigset_t& during)
{
    const std::lock_guard lock(handlers_mutex);
    for (int signal = 1; signal <= kSignals; ++signal) {
        if (!may_be_masked(signal) || sigismember(&before_, signal) != 1 || sigismember(&during, signal) == 1)
            continue;
        struct sigaction now = {};
        if (sigaction(signal, nullptr, &now) != 0) // the C library's own
            continue;
        expected_ |= bit_of(signal);
        if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_signal)
            continue;
        previous[signal] = now;
        struct sigaction ours = {};
        ours.sa_sigaction = on_signal;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        sigfillset(&ours.sa_mask);
        base::set_signal_handler(signal, ours);
    }
}

SignalMaskScope::SignalMaskScope(kvm::Vcpu& vcpu, u64 mask) : vcpu_(vcpu)
{
    sigset_t during;
    sigemptyset(&during);
    for (int signal = 1; signal <= kSignals; ++signal)
        if (may_be_masked(signal) && (mask & bit_of(signal)))
            sigaddset(&during, signal);
    pthread_sigmask(SIG_SETMASK, nullptr, &before_);
    install_handlers(during);
    t_scope = this;
    pthread_sigmask(SIG_SETMASK, &during, nullptr); // what is pending arrives here
}

SignalMaskScope::~SignalMaskScope()
{
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    t_scope = nullptr;
    for (unsigned i = 0; i < count_; ++i)
        (void)syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), caught_[i].si_signo, &caught_[i]);
}

} // namespace seamless::uapi
