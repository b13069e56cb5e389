// SPDX-License-Identifier: Apache-2.0
// The command line's one table: what is declared here is parsed, is in --help, and becomes man pages and
// shell completion (generate.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace CLI { // whose headers take the compiler many seconds: only command_line.cpp and generate.cpp see
                // them
class App;
}

namespace seamless::cli {

struct CommandLine {
    CommandLine();
    ~CommandLine();
    CommandLine(const CommandLine&) = delete; // the options point into this object
    CommandLine& operator=(const CommandLine&) = delete;

    // `words`: the last one first. What the program is to exit with, if that is all: after --help or an
    // error.
    [[nodiscard]] std::optional<int> parse(std::vector<std::string> words);
    [[nodiscard]] bool chosen(const CLI::App* command) const;

    std::unique_ptr<CLI::App> app;
    RunOptions run;
    MeasureOptions measure;
    TraceOptions trace;
    bool caps_json = false;
    std::string generate_folder;
    CLI::App* measure_command = nullptr;
    CLI::App* caps_command = nullptr;
    CLI::App* trace_command = nullptr;
    CLI::App* generate_command = nullptr;
};

} // namespace seamless::cli
