// SPDX-License-Identifier: Apache-2.0
// The real-time clock and its battery-backed memory. MC146818 data sheet. It keeps the date and time; it has
// no interrupts.
#pragma once

#include <array>

#include "devices/bus.h"
#include "devices/clock.h"

namespace seamless::devices {

class Rtc : public BusDevice {
  public:
    static constexpr u64 kPort = 0x70;
    static constexpr u64 kPorts = 2;
    static constexpr u8 kCentury = 0x32; // the register of ACPI's FADT

    explicit Rtc(const Clock& clock);
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    // Seconds, minutes, hours, day of the week, day, month, year, century: plain numbers.
    struct Time {
        unsigned second, minute, hour, weekday, day, month, year, century;
    };

    [[nodiscard]] static Time time_of(i64 seconds);
    [[nodiscard]] bool set_time(const Time& time);
    [[nodiscard]] Time now() const;
    [[nodiscard]] bool stopped() const; // the guest sets the time
    [[nodiscard]] u8 read_register(u8 index) const;
    void write_register(u8 index, u8 value);
    void write_control(u8 value);
    [[nodiscard]] static unsigned* part(Time& time, u8 index);
    [[nodiscard]] u8 encode(u8 index, unsigned value) const;
    [[nodiscard]] unsigned decode(u8 index, u8 value) const;

    const Clock& clock_;
    i64 offset_ = 0; // what the guest has set, against the clock
    Time stopped_{};
    u8 selected_ = 0;
    std::array<u8, 128> memory_{};
};

} // namespace seamless::devices
