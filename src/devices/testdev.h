// SPDX-License-Identifier: Apache-2.0
// testdev: memory-like registers. A read returns what was last written there, byte for byte; fresh bytes are
// zero.
#pragma once

#include <vector>

#include "devices/bus.h"

namespace seamless::devices {

class TestDevice : public BusDevice {
  public:
    static constexpr u64 kMaxSize = u64{16} << 20;

    // `size` is at most kMaxSize.
    explicit TestDevice(u64 size) : bytes_(size) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    std::vector<u8> bytes_;
};

} // namespace seamless::devices
