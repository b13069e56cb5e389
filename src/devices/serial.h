// SPDX-License-Identifier: Apache-2.0
// The 16550A UART. Transmission is immediate, reception comes from a buffer; the registers, FIFO control and
// the interrupt identification are the chip's. PC16550D data sheet: "Registers".
#pragma once

#include <deque>

#include "devices/bus.h"
#include "devices/interrupt_line.h"

namespace seamless::devices {

// Where transmitted bytes go.
class SerialSink {
  public:
    virtual ~SerialSink() = default;
    virtual void transmit(u8 byte) = 0;
    virtual void transmit_all(std::span<const u8> bytes)
    {
        for (const u8 byte : bytes)
            transmit(byte);
    }
};

class Serial : public BusDevice {
  public:
    static constexpr u64 kCom1 = 0x3f8;
    static constexpr u64 kPorts = 8;
    // What may wait in reception; more is the sender's to keep.
    static constexpr std::size_t kReceiveBuffer = 4096;

    // `line`, if there is one, follows interrupt().
    explicit Serial(SerialSink& sink, InterruptLine* line = nullptr) : sink_(sink), line_(line) {}

    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

    // Bytes that arrive at the port; returns how many there was room for.
    std::size_t receive(std::span<const u8> bytes);
    // The level of the interrupt line: an enabled condition is pending and OUT2 connects the line.
    [[nodiscard]] bool interrupt() const;

  private:
    [[nodiscard]] u8 read_register(unsigned index);
    void write_register(unsigned index, u8 value);
    void transmit(u8 value);
    void update_line();
    [[nodiscard]] u8 read_data();
    [[nodiscard]] u8 interrupt_id() const;
    [[nodiscard]] u8 line_status() const;
    [[nodiscard]] u8 modem_status() const;

    SerialSink& sink_;
    InterruptLine* line_;
    std::deque<u8> received_;
    u8 last_data_ = 0; // the receive buffer register keeps the last byte read
    u8 interrupt_enable_ = 0;
    u8 line_control_ = 0;
    u8 modem_control_ = 0;
    u8 scratch_ = 0;
    u16 divisor_ = 12; // 9600 baud, as firmware conventionally leaves it
    bool fifo_ = false;
    bool transmit_pending_ = false; // "transmitter holding register empty" not yet reported through IIR
};

} // namespace seamless::devices
