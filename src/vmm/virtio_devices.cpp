// SPDX-License-Identifier: Apache-2.0
// Plugs virtio devices into a machine.
#include "vmm/virtio_devices.h"

#include <fmt/format.h>

#include "base/check.h"
#include "devices/virtio/entropy.h"
#include "devices/virtio/net.h"
#include "vmm/virtio_layout.h"

namespace seamless::vmm {

using namespace devices::virtio;

static_assert(kVirtioSize == Transport::kSize);

namespace {

// Locally administered; as QEMU numbers its first card.
constexpr MacAddress kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

} // namespace

VirtioDevices::VirtioDevices(VirtioBackends backends, Board& board, Dma& memory, bool bounce)
    : backends_(std::move(backends)), board_(board), memory_(memory), bounce_(bounce)
{
    CHECK(backends_.disks.size() <= kMostDisks);
    transports_.resize(kVirtioTransports);
    for (unsigned i = 0; i < backends_.disks.size(); ++i)
        add(kFirstDisk + i, std::make_unique<Block>(*backends_.disks[i], fmt::format("seamless-disk{}", i)));
    if (backends_.network != nullptr)
        add_network();
    if (backends_.console != nullptr) {
        auto console = std::make_unique<Console>(*backends_.console);
        console_ = console.get();
        add(kConsoleIndex, std::move(console));
    }
    if (backends_.random != nullptr)
        add(kEntropyIndex, std::make_unique<Entropy>(*backends_.random));
    for (auto& transport : transports_)
        if (transport == nullptr)
            transport = std::make_unique<Transport>();
}

VirtioDevices::~VirtioDevices() { (void)release(); }

VirtioBackends VirtioDevices::release()
{
    threads_.clear();
    if (backends_.network != nullptr)
        backends_.network->stop();
    return std::move(backends_);
}

void VirtioDevices::add_network()
{
    auto net = std::make_unique<Net>(*backends_.network, kMac);
    net_ = net.get();
    plug(kNetworkIndex, *net, *backends_.network);
    devices_.push_back(std::move(net));
}

void VirtioDevices::add(unsigned index, std::unique_ptr<Device> device)
{
    threads_.push_back(std::make_unique<DeviceThread>(board_.mutex, *device));
    plug(index, *device, *threads_.back());
    devices_.push_back(std::move(device));
}

void VirtioDevices::plug(unsigned index, Device& device, Worker& worker)
{
    devices::InterruptLine& line = board_.ioapic.line(virtio_transport(index).gsi);
    transports_[index] = std::make_unique<Transport>(device, worker, memory_, line, bounce_);
}

Result<void, Message> VirtioDevices::attach()
{
    for (unsigned i = 0; i < kVirtioTransports; ++i) {
        const MemoryRange registers = virtio_transport(i).registers;
        TRY(board_.mmio.add(fmt::format("virtio{}", i), registers.start, registers.size, *transports_[i]));
    }
    for (auto& thread : threads_)
        thread->start();
    if (net_ != nullptr)
        backends_.network->start(board_.mutex, *net_);
    return {};
}

std::size_t VirtioDevices::receive(std::span<const u8> bytes)
{
    if (console_ == nullptr)
        return bytes.size(); // nobody will ever read them
    const std::lock_guard lock(board_.mutex);
    return console_->receive(bytes);
}

} // namespace seamless::vmm
