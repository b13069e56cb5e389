// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each returns the program's exit status.
#pragma once

#include "cli/options.h"

namespace seamless::cli {

struct TraceOptions {
    std::string file;     // .jsonl
    std::string symbols;  // empty: none
    std::string html;     // the page to write; empty: none
    std::string perfetto; // the same for Chrome's trace events
    bool summary = false; // also where a file is written
};

[[nodiscard]] int run_command(const RunOptions& options);
[[nodiscard]] int measure_command(const MeasureOptions& options);
[[nodiscard]] int caps_command(bool json);
[[nodiscard]] int trace_command(const TraceOptions& options);

// "seamless: " and the message on stderr; returns `status`.
int complain(const Message& message, int status);

} // namespace seamless::cli
