// SPDX-License-Identifier: Apache-2.0
// The network device: frames between the driver and a network. VIRTIO 1.2: "Network Device".
#pragma once

#include <array>

#include "devices/virtio/device.h"

namespace seamless::devices::virtio {

using MacAddress = std::array<u8, 6>;

// The network that the device is plugged into.
class Network {
  public:
    virtual ~Network() = default;
    virtual void send(std::span<const u8> frame) = 0;
};

class Net : public Device {
  public:
    static constexpr unsigned kReceive = 0, kTransmit = 1;
    static constexpr u16 kMtu = 1500;
    static constexpr std::size_t kMostFrame = 65536;

    Net(Network& network, const MacAddress& mac);

    DeviceId id() const override { return DeviceId::network; }
    u64 features() const override;
    unsigned queues() const override { return 2; }
    std::span<const u8> config() const override { return config_; }
    bool take() override { return port().pop(kTransmit, chain_); }
    void perform() override;
    void finish() override { port().push(kTransmit, chain_, 0); }

    // A frame arrives; false: the driver has no buffer for it now. Needs the machine's lock.
    [[nodiscard]] bool receive(std::span<const u8> frame);

  private:
    Network& network_;
    std::array<u8, 12> config_{};
    std::vector<u8> frame_;
    Chain chain_;
    Chain received_;
};

} // namespace seamless::devices::virtio
