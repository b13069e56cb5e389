// SPDX-License-Identifier: Apache-2.0
// A port that takes text, one byte a write: what firmware and early kernels print to before they have a
// console. Bochs has it at 0xe9, OVMF's debug build looks for it at 0x402 (QEMU: isa-debugcon); a read gives
// 0xe9 and so tells that somebody listens.
#pragma once

#include "devices/bus.h"
#include "devices/serial.h"

namespace seamless::devices {

class DebugConsole : public BusDevice {
  public:
    static constexpr u64 kBochsPort = 0xe9;
    static constexpr u64 kOvmfPort = 0x402;
    static constexpr u8 kPresent = 0xe9;

    // `sink` may be nullptr for a device that no bus has.
    explicit DebugConsole(SerialSink* sink) : sink_(sink) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    SerialSink* sink_;
};

} // namespace seamless::devices
