// SPDX-License-Identifier: Apache-2.0
// The device's side of a split virtqueue in guest memory. All that stands in the rings is the driver's word
// and may change at any moment: each field is read once and checked. VIRTIO 1.2: "Split Virtqueues".
#pragma once

#include <vector>

#include "devices/dma_memory.h"

namespace seamless::devices::virtio {

// A buffer of the driver's: pieces of memory for the device to read, then pieces for it to write.
struct Chain {
    u16 head = 0;
    std::vector<std::span<u8>> readable;
    std::vector<std::span<u8>> writable;

    void clear();
    // Removes up to to.size() bytes from the front of `readable`; returns how many there were.
    std::size_t read(std::span<u8> to);
};

// The bytes of all pieces together.
[[nodiscard]] u64 total_size(std::span<const std::span<u8>> pieces);
// Copies `from` to the pieces, at `offset` from their start; returns how many bytes fit.
std::size_t copy_to(std::span<const std::span<u8>> pieces, u64 offset, std::span<const u8> from);

class Queue {
  public:
    static constexpr u16 kMaxSize = 256;

    struct Layout {
        u32 size = 0;
        u64 descriptors = 0;
        u64 driver = 0; // the available ring
        u64 device = 0; // the used ring
        bool event_index = false;
    };

    // False: the size is no power of two up to kMaxSize, or a part is misaligned or outside memory.
    [[nodiscard]] bool enable(DmaMemory& memory, const Layout& layout);
    void disable() { memory_ = nullptr; }
    [[nodiscard]] bool enabled() const { return memory_ != nullptr; }

    enum class Pop : u8 { chain, empty, broken };
    // The next buffer, into `chain`. After `empty` the driver tells us of the next one. `broken`: the rings
    // make no sense.
    [[nodiscard]] Pop pop(Chain& chain);
    // Returns a buffer of which the device has written `written` bytes; true if the driver wants an interrupt
    // for it.
    [[nodiscard]] bool push(u16 head, u32 written);

  private:
    struct Descriptor {
        u64 address;
        u32 length;
        u16 flags;
        u16 next;
    };
    static_assert(sizeof(Descriptor) == 16);

    // A table of descriptors, and how many it has.
    struct Table {
        const u8* start;
        u32 count;
    };

    [[nodiscard]] bool follow(Chain& chain) const;
    [[nodiscard]] bool add(Chain& chain, const Descriptor& descriptor) const;
    [[nodiscard]] bool enter_indirect(Table& table, const Descriptor& descriptor) const;
    [[nodiscard]] bool has_more();

    DmaMemory* memory_ = nullptr; // nullptr: not enabled
    u8* descriptors_ = nullptr;
    u8* available_ = nullptr;
    u8* used_ = nullptr;
    u16 size_ = 0;
    bool event_index_ = false;
    u16 next_available_ = 0;
    u16 next_used_ = 0;
};

} // namespace seamless::devices::virtio
