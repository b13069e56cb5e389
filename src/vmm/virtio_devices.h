// SPDX-License-Identifier: Apache-2.0
// The virtio devices of a machine: transports on the bus, what is behind them, and the threads that work.
#pragma once

#include <memory>

#include "base/host_ports.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/transport.h"
#include "vmm/device_thread.h"
#include "vmm/dma.h"
#include "vmm/exit_handlers.h"
#include "vmm/user_network.h"

namespace seamless::vmm {

// What the devices meet outside; a device whose backend is missing is not there. What is pointed to must
// outlive the machine.
struct VirtioBackends {
    std::vector<std::unique_ptr<devices::virtio::Disk>> disks; // at most kMostDisks
    std::unique_ptr<UserNetwork> network;
    devices::SerialSink* console = nullptr;
    base::Random* random = nullptr;
};

class VirtioDevices {
  public:
    // The board and the memory must outlive the devices. In a TD (`bounce`) drivers must use shared memory.
    VirtioDevices(VirtioBackends backends, Board& board, Dma& memory, bool bounce);
    // Threads end with the work that is under way; needs the board's lock to be free.
    ~VirtioDevices();
    VirtioDevices(const VirtioDevices&) = delete;
    VirtioDevices& operator=(const VirtioDevices&) = delete;

    // Puts the transports on the bus and starts the threads.
    [[nodiscard]] Result<void, Message> attach();
    // Ends the threads, and gives the backends back for another machine; after that only the destructor may
    // be called.
    [[nodiscard]] VirtioBackends release();
    // Input for the console; returns how many bytes there was room for.
    std::size_t receive(std::span<const u8> bytes);

  private:
    using Transport = devices::virtio::Transport;

    void add(unsigned index, std::unique_ptr<devices::virtio::Device> device);
    void plug(unsigned index, devices::virtio::Device& device, devices::virtio::Worker& worker);
    void add_network();

    VirtioBackends backends_;
    Board& board_;
    Dma& memory_;
    bool bounce_;
    devices::virtio::Console* console_ = nullptr;
    devices::virtio::Net* net_ = nullptr;
    std::vector<std::unique_ptr<devices::virtio::Device>> devices_;
    std::vector<std::unique_ptr<Transport>> transports_;
    std::vector<std::unique_ptr<DeviceThread>> threads_;
};

} // namespace seamless::vmm
