// SPDX-License-Identifier: Apache-2.0
// Keeps the end of what a guest writes to its console: a kernel that panics says why there, and nowhere else.
#pragma once

#include <mutex>
#include <string>

#include "devices/serial.h"

namespace seamless::vmm::report {

class ConsoleTail : public devices::SerialSink {
  public:
    static constexpr std::size_t kKept = 65536;

    // What is written goes on to `next`, which must outlive this.
    explicit ConsoleTail(devices::SerialSink& next) : next_(next) {}
    void transmit(u8 byte) override { transmit_all({&byte, 1}); }
    void transmit_all(std::span<const u8> bytes) override;

    // What follows "Kernel panic - not syncing: " in what is kept, fit to be printed; or nothing.
    [[nodiscard]] std::string panic() const;

  private:
    devices::SerialSink& next_;
    mutable std::mutex mutex_; // guards what follows; taken last
    std::string kept_;
};

// ASCII that a terminal does not obey, at most `most` characters of it.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most);
// `text` as a JSON string, quotes included. What is no ASCII becomes a question mark.
[[nodiscard]] std::string json_text(std::string_view text);

} // namespace seamless::vmm::report
