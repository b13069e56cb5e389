// SPDX-License-Identifier: Apache-2.0
// The console device with its one port: Linux calls it hvc0. VIRTIO 1.2: "Console Device".
#pragma once

#include "devices/serial.h"
#include "devices/virtio/device.h"

namespace seamless::devices::virtio {

class Console : public Device {
  public:
    static constexpr unsigned kReceive = 0, kTransmit = 1;
    static constexpr u64 kMost = 64 << 10; // of one buffer that the driver sends; the rest is lost

    explicit Console(SerialSink& sink) : sink_(sink) {}

    DeviceId id() const override { return DeviceId::console; }
    u64 features() const override { return 0; }
    unsigned queues() const override { return 2; }
    bool take() override { return port().pop(kTransmit, chain_); }
    void perform() override;
    void finish() override { port().push(kTransmit, chain_, 0); }

    // Bytes that arrive; returns for how many the driver had buffers. Needs the machine's lock.
    std::size_t receive(std::span<const u8> bytes);

  private:
    SerialSink& sink_;
    Chain chain_;
    Chain received_;
};

} // namespace seamless::devices::virtio
