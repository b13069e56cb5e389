// SPDX-License-Identifier: Apache-2.0
// The ports by which a guest ends the machine: debug-exit, power-off and reset. What follows is the owner's
// decision.
#pragma once

#include "devices/bus.h"

namespace seamless::devices {

// Who is told that the guest wants the machine to end.
class MachineEnd {
  public:
    virtual ~MachineEnd() = default;
    virtual void debug_exit(u32 value) = 0;
    virtual void power_off() = 0;
    virtual void reset() = 0;
};

// Writing v ends the run with status ((v << 1) | 1) & 0xff, as QEMU's isa-debug-exit does; a read gives
// zeros.
class DebugExit : public BusDevice {
  public:
    static constexpr u64 kPort = 0xf4;
    static constexpr u64 kSize = 4;

    explicit DebugExit(MachineEnd& end) : end_(end) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    MachineEnd& end_;
};

// ACPI: "PM1 Control Registers": SLP_EN with sleep type 0, which our machine gives the meaning S5, powers
// off. Other bits read back as written.
class PowerPort : public BusDevice {
  public:
    static constexpr u64 kPort = 0x604;
    static constexpr u64 kSize = 2;
    static constexpr u16 SLP_EN = 1u << 13;
    static constexpr u16 kSleepType = 7u << 10;

    explicit PowerPort(MachineEnd& end) : end_(end) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    MachineEnd& end_;
    u16 control_ = 0;
};

// ACPI: "Sleep Control Register" and "Sleep Status Register" of hardware-reduced machines: SLP_EN with sleep
// type 5 powers off, other types do nothing. The machine never sleeps, so there is no wake status either.
class SleepPorts : public BusDevice {
  public:
    static constexpr u64 kControl = 0x620;
    static constexpr u64 kStatus = 0x621;
    static constexpr u8 kPowerOffType = 5;

    explicit SleepPorts(MachineEnd& end) : end_(end) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    MachineEnd& end_;
    u8 control_ = 0;
};

// The reset control register of PC chipsets: writing bit 2 resets, bit 1 chooses how and reads back.
class ResetPort : public BusDevice {
  public:
    static constexpr u64 kPort = 0xcf9;
    static constexpr u8 kReset = 1u << 2;
    static constexpr u8 kSystemReset = 1u << 1;

    explicit ResetPort(MachineEnd& end) : end_(end) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    MachineEnd& end_;
    u8 control_ = 0;
};

} // namespace seamless::devices
