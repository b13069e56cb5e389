// SPDX-License-Identifier: Apache-2.0
// Seamless's own messages: on stderr, and with --log in a file too, with the time since the start.
#pragma once

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "base/message.h"
#include "base/result.h"

namespace seamless::cli {

class Log {
  public:
    // `path` may be empty: no file. `verbose`: stderr also gets what is only told.
    [[nodiscard]] static Result<Log, Message> open(const std::string& path, bool verbose);

    // What everybody must know.
    void say(const std::string& text);
    // What happens, for those who want to know.
    void tell(const std::string& text);
    // Lines that are complete as they are.
    void lines(const std::string& text);

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    void note(const std::string& text);

    std::unique_ptr<std::FILE, Close> file_;
    bool verbose_ = false;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

} // namespace seamless::cli
