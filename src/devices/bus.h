// SPDX-License-Identifier: Apache-2.0
// The bus interface of devices, and a bus: accesses dispatched by address range, for memory-mapped and port
// I/O.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bits.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::devices {

// `offset` counts from the start of the device's range; the access lies within it.
class BusDevice {
  public:
    virtual ~BusDevice() = default;
    virtual void read(u64 offset, std::span<u8> data) = 0;
    virtual void write(u64 offset, std::span<const u8> data) = 0;
};

// Not thread-safe: the machine serialises accesses.
class Bus {
  public:
    // Puts `device` at [start, start + size); it must outlive the bus. Fails on an empty or overflowing
    // range, or one that overlaps another device's.
    [[nodiscard]] Result<void, Message> add(std::string_view name, u64 start, u64 size, BusDevice& device);

    // False if no device claims the whole access: a read then gives all ones, a write is lost.
    bool read(u64 address, std::span<u8> data);
    bool write(u64 address, std::span<const u8> data);

    // The name of the device that claims `address`, or empty.
    [[nodiscard]] std::string_view owner(u64 address) const;

  private:
    struct Range {
        u64 start;
        u64 size;
        BusDevice* device;
        std::string name;
    };

    [[nodiscard]] const Range* find(u64 address, u64 size) const;

    std::vector<Range> ranges_; // sorted by start
};

} // namespace seamless::devices
