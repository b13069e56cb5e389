// SPDX-License-Identifier: Apache-2.0
// The entropy device: fills the driver's buffers from a source of randomness. VIRTIO 1.2: "Entropy Device".
#pragma once

#include "base/host_ports.h"
#include "devices/virtio/device.h"

namespace seamless::devices::virtio {

class Entropy : public Device {
  public:
    static constexpr u64 kMost = 4096; // of one buffer; a driver asks again

    explicit Entropy(base::Random& random) : random_(random) {}

    DeviceId id() const override { return DeviceId::entropy; }
    u64 features() const override { return 0; }
    unsigned queues() const override { return 1; }
    bool take() override { return port().pop(0, chain_); }
    void perform() override;
    void finish() override { port().push(0, chain_, filled_); }

  private:
    base::Random& random_;
    Chain chain_;
    u64 filled_ = 0;
};

} // namespace seamless::devices::virtio
