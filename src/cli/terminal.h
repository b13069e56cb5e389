// SPDX-License-Identifier: Apache-2.0
// A terminal in raw mode for as long as the object lives. However the process ends, but by SIGKILL, the
// terminal gets its mode back.
#pragma once

#include <termios.h>

namespace seamless::cli {

// For signals that end the process without anybody being asked. To be called before the processor installs
// its own handlers, which pass on what is not theirs.
void restore_terminal_on_death();

class RawTerminal {
  public:
    // Does nothing if `fd` is no terminal.
    explicit RawTerminal(int fd);
    ~RawTerminal();
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

    [[nodiscard]] bool raw() const { return raw_; }

  private:
    bool raw_ = false;
};

} // namespace seamless::cli
