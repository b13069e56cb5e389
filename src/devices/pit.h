// SPDX-License-Identifier: Apache-2.0
// The interval timer, and system control port B, through which its third counter is gated and seen: operating
// systems measure their other clocks against it. Intel 8254 data sheet. Nothing is wired to the first
// counter's output.
#pragma once

#include <array>

#include "devices/bus.h"
#include "devices/clock.h"

namespace seamless::devices {

class Pit : public BusDevice {
  public:
    static constexpr u64 kPort = 0x40;
    static constexpr u64 kPorts = 4;
    static constexpr u64 kHz = 1'193'182;

    explicit Pit(const Clock& clock) : clock_(clock) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

    // The third counter, as port B has it.
    void set_gate(bool on);
    [[nodiscard]] bool gate() const { return counters_[2].gate; }
    [[nodiscard]] bool output() const { return output_of(counters_[2]); }

  private:
    enum class Bytes : u8 { latch, low, high, both };
    struct Counter {
        u8 mode = 0;
        Bytes bytes = Bytes::both;
        bool bcd = false;
        bool gate = true;
        bool loaded = false;    // a count has been written since the mode was
        bool high_next = false; // of two bytes written
        bool read_high = false; // of two bytes read
        u8 low = 0;             // the first of two bytes written
        u32 reload = 0x10000;
        u64 start_ns = 0;   // when `reload` began to count down
        u64 stopped_ns = 0; // for how long it has counted, while the gate is off
        bool latched = false;
        u16 latch = 0;
        bool status_latched = false;
        u8 status = 0;
    };

    [[nodiscard]] u64 ticks(const Counter& c) const; // since the count was loaded
    [[nodiscard]] u32 count_of(const Counter& c) const;
    [[nodiscard]] bool output_of(const Counter& c) const;
    [[nodiscard]] u8 status_of(const Counter& c) const;
    void control(u8 value);
    void read_back(u8 value);
    void latch(Counter& c);
    void load(Counter& c, u16 value);
    void write_count(Counter& c, u8 value);
    [[nodiscard]] u8 read_count(Counter& c);

    const Clock& clock_;
    std::array<Counter, 3> counters_;
};

// System control port B: bit 0 gates the third counter, bit 1 is the speaker's, bit 5 shows the counter's
// output, bit 4 the refresh toggle.
class PortB : public BusDevice {
  public:
    static constexpr u64 kPort = 0x61;

    PortB(Pit& pit, const Clock& clock) : pit_(pit), clock_(clock) {}
    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    Pit& pit_;
    const Clock& clock_;
    bool speaker_ = false;
};

} // namespace seamless::devices
