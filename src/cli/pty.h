// SPDX-License-Identifier: Apache-2.0
// A pseudo-terminal as the far end of a serial port: whoever opens it reads what the guest says and types
// what the guest reads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/message.h"
#include "base/result.h"
#include "devices/serial.h"

namespace seamless::cli {

class Pty : public devices::SerialSink {
  public:
    // Returns how many of the bytes were taken.
    using Input = std::function<std::size_t(std::span<const u8>)>;

    [[nodiscard]] static Result<std::unique_ptr<Pty>, Message> open();
    ~Pty() override; // calls stop()
    Pty(const Pty&) = delete;
    Pty& operator=(const Pty&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    void transmit(u8 byte) override { transmit_all({&byte, 1}); }
    // What nobody reads is lost once the terminal is full.
    void transmit_all(std::span<const u8> bytes) override;

    // A thread hands what is typed to `input` until stop().
    void listen(Input input);
    void stop();

  private:
    Pty();
    void watch();

    int master_;
    int terminal_ = -1; // keeps the mode and what was written while nobody else has it open
    int stop_;
    std::string name_;
    bool read_ = true; // somebody has read lately
    Input input_;
    std::thread thread_;
};

} // namespace seamless::cli
