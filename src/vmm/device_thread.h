// SPDX-License-Identifier: Apache-2.0
// The thread that does the work of one virtio device, so that vCPUs do not wait for the outside.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "devices/virtio/device.h"

namespace seamless::vmm {

// For a device's thread, first of all: signals are for the processors and the console, but what the thread
// does wrong itself must end the process.
void block_signals();

class DeviceThread : public devices::virtio::Worker {
  public:
    // `machine` is the machine's lock. The device must not be woken before start().
    DeviceThread(std::mutex& machine, devices::virtio::Device& device) : mutex_(machine), device_(device) {}
    // Ends with the buffer that is being performed; needs the lock to be free.
    ~DeviceThread() override;

    void start();
    void wake() override;
    void quiesce() override;

  private:
    void serve();

    std::mutex& mutex_; // guards what follows
    devices::virtio::Device& device_;
    bool woken_ = false;
    bool performing_ = false;
    bool stopped_ = false;
    std::condition_variable wanted_; // woken_ or stopped_
    std::condition_variable idle_;   // no longer performing_
    std::thread thread_;
};

} // namespace seamless::vmm
