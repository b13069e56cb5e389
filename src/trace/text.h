// SPDX-License-Identifier: Apache-2.0
// One aligned line an event, for people: what `--trace FILE` writes unless the name says otherwise.
#pragma once

#include <cstdio>
#include <mutex>
#include <string>

#include "trace/trace.h"

namespace seamless::trace {

// The record as one line, without the newline.
[[nodiscard]] std::string to_text(const Record& record);

class TextSink : public Sink {
  public:
    // Takes the open file over and closes it.
    explicit TextSink(std::FILE* file) : file_(file) {}
    ~TextSink() override;
    TextSink(const TextSink&) = delete;
    TextSink& operator=(const TextSink&) = delete;

    void write(const Record& record) override;

  private:
    std::mutex mutex_;
    std::FILE* file_;
};

} // namespace seamless::trace
