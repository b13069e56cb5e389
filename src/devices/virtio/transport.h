// SPDX-License-Identifier: Apache-2.0
// A virtio-mmio transport, version 2: the registers between a driver and a device, or an empty place.
// VIRTIO 1.2: "Virtio Over MMIO".
#pragma once

#include <array>

#include "devices/bus.h"
#include "devices/interrupt_line.h"
#include "devices/virtio/device.h"

namespace seamless::devices::virtio {

class Transport : public BusDevice, private Port {
  public:
    static constexpr u64 kSize = 0x200;
    static constexpr unsigned kMaxQueues = 4;

    // An empty place: a driver finds no device here.
    Transport() = default;
    // `line` is for an edge-triggered pin: it rises for each cause that comes while none was pending, and
    // again for what is left after an acknowledgement. `bounce`: the driver must use the platform's DMA.
    Transport(Device& device, Worker& worker, DmaMemory& memory, InterruptLine& line, bool bounce);
    Transport(const Transport&) = delete; // the device refers to it
    Transport& operator=(const Transport&) = delete;

    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    struct QueueState {
        Queue queue;
        Queue::Layout layout;
    };

    bool pop(unsigned queue, Chain& chain) override;
    void push(unsigned queue, const Chain& chain, u64 written) override;
    void needs_reset() override;

    [[nodiscard]] u32 read_register(Register which) const;
    [[nodiscard]] u32 read_queue_register(Register which) const;
    void write_register(Register which, u32 value);
    void write_queue_register(Register which, u32 value);
    void write_status(u8 value);
    void enable_queue(QueueState& queue);
    void reset();
    [[nodiscard]] bool features_acceptable() const;
    [[nodiscard]] bool running() const;
    [[nodiscard]] u64 offered() const;
    [[nodiscard]] QueueState* selected();
    [[nodiscard]] const QueueState* selected() const;
    void raise(u32 cause);
    void acknowledge(u32 causes);

    Device* device_ = nullptr;
    DmaMemory* memory_ = nullptr;
    InterruptLine* line_ = nullptr;
    bool bounce_ = false;
    bool resetting_ = false;

    std::array<QueueState, kMaxQueues> queues_{};
    u32 queue_select_ = 0;
    u32 offered_select_ = 0, accepted_select_ = 0;
    u64 accepted_ = 0;
    u32 pending_ = 0; // causes of interrupts
    u8 status_ = 0;
};

} // namespace seamless::devices::virtio
