// SPDX-License-Identifier: Apache-2.0
// The I/O APIC: 24 pins, each with a redirection entry that says which message the pin's interrupt becomes.
// Intel 82093AA data sheet: "Register Description"; the EOI register is that of version 0x20.
#pragma once

#include <array>

#include "devices/bus.h"
#include "devices/interrupt_line.h"

namespace seamless::devices {

struct MsiMessage {
    u32 address = 0;
    u32 data = 0;
    friend bool operator==(const MsiMessage&, const MsiMessage&) = default;
};

// Where the I/O APIC's messages go.
class IoapicBackend {
  public:
    virtual ~IoapicBackend() = default;
    virtual void send(const MsiMessage& message) = 0;
    // The messages of level-triggered pins have changed: whose EOIs the I/O APIC must hear of.
    virtual void routes_changed() = 0;
};

class Ioapic : public BusDevice {
  public:
    static constexpr u64 kBase = 0xfec00000;
    static constexpr u64 kSize = 0x1000;
    static constexpr unsigned kPins = 24;

    explicit Ioapic(IoapicBackend& backend);
    Ioapic(const Ioapic&) = delete; // the lines refer to it
    Ioapic& operator=(const Ioapic&) = delete;

    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

    // The wire into pin `pin`, which is below kPins.
    [[nodiscard]] InterruptLine& line(unsigned pin) { return lines_[pin]; }
    // A local APIC has ended a level-triggered interrupt with this vector.
    void end_of_interrupt(u8 vector);

    // What the pin sends, if it is level triggered; it is then the owner's duty to report its EOIs.
    [[nodiscard]] bool level_triggered(unsigned pin) const;
    [[nodiscard]] MsiMessage message(unsigned pin) const;
    // For those who ask why an interrupt does not come.
    struct Pin {
        u8 vector = 0;
        bool masked = false;
        bool level = false;
        bool remote_irr = false; // a local APIC has it and has not ended it
        bool asserted = false;   // the device's line
        bool lost = false;       // the last edge came while the pin was masked
    };
    [[nodiscard]] Pin pin(unsigned number) const;

  private:
    class Line : public InterruptLine {
      public:
        void set(bool asserted) override { ioapic->set_line(pin, asserted); }
        Ioapic* ioapic = nullptr;
        unsigned pin = 0;
    };

    void set_line(unsigned pin, bool asserted);
    void send_if_level_pending(unsigned pin);
    void deliver(unsigned pin);
    [[nodiscard]] u32 read_register() const;
    void write_register(u32 value);
    void write_entry(unsigned pin, bool high, u32 value);

    IoapicBackend& backend_;
    std::array<Line, kPins> lines_;
    std::array<u64, kPins> entries_;
    u32 asserted_ = 0; // the pins' inputs
    u32 lost_ = 0;     // pins whose last edge came while they were masked
    u8 selected_ = 0;
    u8 id_ = 0;
};

} // namespace seamless::devices
