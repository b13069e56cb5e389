// SPDX-License-Identifier: Apache-2.0
// One JSON object a line: what `--trace FILE.jsonl` writes.
#pragma once

#include <cstdio>
#include <mutex>
#include <string>

#include "trace/trace.h"

namespace seamless::trace {

// The record as one JSON object, without the newline.
[[nodiscard]] std::string to_json(const Record& record);

class JsonlSink : public Sink {
  public:
    // Takes the open file over and closes it.
    explicit JsonlSink(std::FILE* file) : file_(file) {}
    ~JsonlSink() override;
    JsonlSink(const JsonlSink&) = delete;
    JsonlSink& operator=(const JsonlSink&) = delete;

    void write(const Record& record) override;

  private:
    std::mutex mutex_;
    std::FILE* file_;
};

} // namespace seamless::trace
