// SPDX-License-Identifier: Apache-2.0
// A device's thread: takes, performs and finishes buffers until there are none, then sleeps.
#include "vmm/device_thread.h"

#include <csignal>
#include <pthread.h>

namespace seamless::vmm {

void block_signals()
{
    sigset_t set;
    sigfillset(&set);
    for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT})
        sigdelset(&set, fault);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

DeviceThread::~DeviceThread()
{
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        wanted_.notify_all();
    }
    if (thread_.joinable())
        thread_.join();
}

void DeviceThread::start()
{
    thread_ = std::thread([this] { serve(); });
    pthread_setname_np(thread_.native_handle(), "virtio");
}

void DeviceThread::wake()
{
    woken_ = true;
    wanted_.notify_one();
}

void DeviceThread::quiesce()
{
    std::unique_lock lock(mutex_, std::adopt_lock);
    idle_.wait(lock, [this] { return !performing_; });
    lock.release();
}

void DeviceThread::serve()
{
    block_signals();
    std::unique_lock lock(mutex_);
    while (!stopped_) {
        woken_ = false;
        while (!stopped_ && device_.take()) {
            performing_ = true;
            lock.unlock();
            device_.perform();
            lock.lock();
            performing_ = false;
            device_.finish();
            idle_.notify_all();
        }
        wanted_.wait(lock, [this] { return woken_ || stopped_; });
    }
}

} // namespace seamless::vmm
