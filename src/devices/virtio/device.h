// SPDX-License-Identifier: Apache-2.0
// What a virtio device is to its transport, and the transport to a device. Work is done one buffer at a time
// by a worker, so that no processor waits for the outside: taken and finished while the machine's lock is
// held, performed without it.
#pragma once

#include "devices/virtio/queue.h"
#include "devices/virtio/registers.h"

namespace seamless::devices::virtio {

// The transport, as its device sees it. All calls need the machine's lock.
class Port {
  public:
    virtual ~Port() = default;
    // False: no buffer, or the driver is not ready for the device.
    [[nodiscard]] virtual bool pop(unsigned queue, Chain& chain) = 0;
    // Returns a buffer, with an interrupt if the driver wants one. Lost if the device was reset since.
    virtual void push(unsigned queue, const Chain& chain, u64 written) = 0;
    // The driver has done what it must not: the device stops until it is reset.
    virtual void needs_reset() = 0;
};

// Who does a device's work. Both are called with the machine's lock held.
class Worker {
  public:
    virtual ~Worker() = default;
    // There may be work.
    virtual void wake() = 0;
    // Returns once nothing is being performed; may give up the machine's lock meanwhile.
    virtual void quiesce() = 0;
};

class Device {
  public:
    virtual ~Device() = default;

    [[nodiscard]] virtual DeviceId id() const = 0;
    [[nodiscard]] virtual u64 features() const = 0; // the device's own, not the transport's
    [[nodiscard]] virtual unsigned queues() const = 0;
    [[nodiscard]] virtual std::span<const u8> config() const { return {}; }
    // The driver is ready and has chosen `features`.
    virtual void start(u64 features) { (void)features; }
    // The device is reset, and nothing is being performed.
    virtual void stop() {}

    // For the worker, in this order. False: there is nothing to do.
    [[nodiscard]] virtual bool take() = 0;
    virtual void perform() = 0; // the machine's lock is not held
    virtual void finish() = 0;

    void attach(Port& port, Worker& worker)
    {
        port_ = &port;
        worker_ = &worker;
    }
    [[nodiscard]] Worker& worker() { return *worker_; }

  protected:
    [[nodiscard]] Port& port() { return *port_; }

  private:
    Port* port_ = nullptr;
    Worker* worker_ = nullptr;
};

} // namespace seamless::devices::virtio
