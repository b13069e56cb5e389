// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each returns the program's exit status.
#pragma once

#include "cli/options.h"

namespace seamless::cli {

[[nodiscard]] int run_command(const RunOptions& options);
[[nodiscard]] int measure_command(const MeasureOptions& options);
[[nodiscard]] int caps_command(bool json);
// The summary of a .jsonl trace; `symbol_file` may be empty.
[[nodiscard]] int trace_command(const std::string& path, const std::string& symbol_file);

// "seamless: " and the message on stderr; returns `status`.
int complain(const Message& message, int status);

} // namespace seamless::cli
