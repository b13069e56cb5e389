// SPDX-License-Identifier: Apache-2.0
// The command line's one table: what is declared here is parsed, is in --help, and becomes man pages and
// shell completion (generate.h).
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/commands.h"

namespace seamless::cli {

struct CommandLine {
    CommandLine();
    CommandLine(const CommandLine&) = delete; // the options point into this object
    CommandLine& operator=(const CommandLine&) = delete;

    CLI::App app{"Seamless: KVM with Intel TDX, in user space"};
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
