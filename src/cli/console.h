// SPDX-License-Identifier: Apache-2.0
// The outside of a running machine: where the serial port's bytes go and come from, and the signals that end
// a run.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "cli/options.h"
#include "cli/terminal.h"
#include "devices/serial.h"

namespace seamless::cli {

// The serial port's output: a descriptor, or nothing.
class SerialOutput : public devices::SerialSink {
  public:
    [[nodiscard]] static Result<std::unique_ptr<SerialOutput>, Message> open(std::string_view option,
                                                                             const SerialTarget& target);
    SerialOutput(int fd, bool owned) : fd_(fd), owned_(owned) {}
    ~SerialOutput() override;
    SerialOutput(const SerialOutput&) = delete;
    SerialOutput& operator=(const SerialOutput&) = delete;
    void transmit(u8 byte) override { transmit_all({&byte, 1}); }
    void transmit_all(std::span<const u8> bytes) override;

  private:
    int fd_; // -1: nowhere
    bool owned_;
};

// Blocks the signals that end a run in this thread and all that it starts; a Console receives them instead.
void block_ending_signals();

// Watches standard input and signals while a machine runs. A terminal is in raw mode for that long: Ctrl-A x
// quits, Ctrl-A h helps, Ctrl-A Ctrl-A sends Ctrl-A.
class Console {
  public:
    struct Events {
        std::function<std::size_t(std::span<const u8>)> input; // returns how many bytes were taken
        std::function<void(int)> signal;
        std::function<void()> quit;
    };

    Console(bool use_stdin, Events events);
    ~Console();
    Console(const Console&) = delete;
    Console& operator=(const Console&) = delete;

  private:
    void watch();
    void read_input();
    void deliver();
    void key(u8 byte);
    [[nodiscard]] bool is_raw() const { return terminal_ && terminal_->raw(); }

    Events events_;
    int signals_;
    int stop_;
    bool use_stdin_;
    bool escape_ = false;                 // Ctrl-A came last
    std::vector<u8> waiting_;             // input the serial port had no room for
    std::optional<RawTerminal> terminal_; // if standard input is used
    std::thread thread_;
};

} // namespace seamless::cli
