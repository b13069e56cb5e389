// SPDX-License-Identifier: Apache-2.0
// The command line of Seamless.
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <span>

#include "cli/command_line.h"
#include "cli/generate.h"

namespace seamless::cli {

int complain(const Message& message, int status)
{
    fmt::print(stderr, "seamless: {}\n", message.text);
    return status;
}

namespace {

// What is after the program's name, last word first, as CLI11 wants it.
std::vector<std::string> arguments(int argc, char** argv)
{
    std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    if (!words.empty() && words.front() == "run") {
        std::vector<std::string> rest = from_qemu_spelling(std::span(words).subspan(1));
        words.resize(1);
        words.insert(words.end(), rest.begin(), rest.end());
    }
    std::reverse(words.begin(), words.end());
    return words;
}

int dispatch(int argc, char** argv)
{
    CommandLine line;
    if (const std::optional<int> status = line.parse(arguments(argc, argv)))
        return *status;
    if (line.chosen(line.measure_command))
        return measure_command(line.measure);
    if (line.chosen(line.trace_command))
        return trace_command(line.trace);
    if (line.chosen(line.caps_command))
        return caps_command(line.caps_json);
    if (line.chosen(line.generate_command))
        return generate_command(*line.app, line.generate_folder);
    return run_command(line.run);
}

} // namespace
} // namespace seamless::cli

int main(int argc, char** argv)
{
    try {
        return seamless::cli::dispatch(argc, argv);
    } catch (const std::exception& error) {
        return seamless::cli::complain({error.what()}, seamless::cli::kOurBug);
    }
}
