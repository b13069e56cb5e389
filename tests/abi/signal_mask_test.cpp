// SPDX-License-Identifier: Apache-2.0
// KVM_SET_SIGNAL_MASK: a signal that is blocked but for KVM_RUN ends it and stays pending.
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <thread>

#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

std::atomic<int> handled{0};

class SignalMask : public testing::Test {
  protected:
    SignalMask()
    {
        sigemptyset(&set_);
        sigaddset(&set_, SIGUSR2);
        struct sigaction act = {};
        act.sa_handler = [](int) { ++handled; };
        sigaction(SIGUSR2, &act, nullptr);
        pthread_sigmask(SIG_BLOCK, &set_, nullptr);
        handled = 0;
        EXPECT_EQ(set_mask(0), 0);
        std::copy_n("\xeb\xfe", 2, vm.memory.at + kCode); // jmp to itself
        EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_SREGS, &vm.sregs), 0);
        EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_REGS, &vm.regs), 0);
    }
    ~SignalMask() override
    {
        (void)take();
        pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    }
    long set_mask(u64 mask, u32 len = 8)
    {
        struct [[gnu::packed]] {
            u32 len;
            u64 set;
        } arg{len, mask};
        return host.ioctl(vm.vcpu, KVM_SET_SIGNAL_MASK, &arg);
    }
    // A pending SIGUSR2, or -1.
    int take(siginfo_t* info = nullptr)
    {
        const timespec now{};
        return sigtimedwait(&set_, info, &now);
    }

    sigset_t set_;
    Host host;
    PlainVm vm{host};
};

TEST_F(SignalMask, ASignalThatIsPendingEndsTheRunAndStaysPending)
{
    ASSERT_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR);
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_INTR);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR); // and again, until it is taken
    EXPECT_EQ(handled, 0);
    EXPECT_EQ(take(), SIGUSR2);
    EXPECT_EQ(take(), -1);
}

TEST_F(SignalMask, ASignalThatArrivesLaterDoesTheSame)
{
    const pthread_t self = pthread_self();
    sigval value{};
    value.sival_int = 42;
    std::thread other([=] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        pthread_sigqueue(self, SIGUSR2, value);
    });
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR);
    other.join();
    siginfo_t info{};
    EXPECT_EQ(take(&info), SIGUSR2);
    EXPECT_EQ(info.si_value.sival_int, 42);
    EXPECT_EQ(handled, 0);
}

TEST_F(SignalMask, OutsideOfTheRunItsHandlerIsTheVmms)
{
    ASSERT_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR);
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    EXPECT_EQ(handled, 1);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
}

TEST_F(SignalMask, WhatTheMaskBlocksDoesNotEndTheRun)
{
    EXPECT_EQ(set_mask(u64{1} << (SIGUSR2 - 1)), 0);
    ASSERT_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_SIGNAL_MASK, u64{0}), 0); // none: as outside
    vm.regs.rip = kCode;
    EXPECT_EQ(vm.start({0x90}), KVM_EXIT_HLT);
    EXPECT_EQ(take(), SIGUSR2);
}

TEST_F(SignalMask, IsChecked)
{
    EXPECT_EQ(set_mask(0, 4), -EINVAL);
    EXPECT_EQ(set_mask(0, 128), -EINVAL);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_SIGNAL_MASK, u64{8}), -EFAULT);
}

} // namespace
} // namespace seamless::abi
