// SPDX-License-Identifier: Apache-2.0
// Man pages, and completion for bash, zsh and fish, from the options as they are declared.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace seamless::cli {

// What the generators need to know of an option.
struct OptionRow {
    std::string name;  // "--vm", "-s"; of a positional argument, "FILE"
    std::string value; // "td|plain", "FILE"; empty: a flag
    std::string about; // one line
    std::string standard;
    std::vector<std::string> words; // values that can be completed
    bool positional = false;
    bool file = false;   // the value begins with a file's name
    bool events = false; // and may go on with a colon and names of trace events
};

struct CommandRow {
    std::string name, about, footer;
    std::vector<OptionRow> options;
};

// The subcommands that --help shows.
[[nodiscard]] std::vector<CommandRow> rows_of(const CLI::App& app);

// Man page of the program, or of one subcommand.
[[nodiscard]] std::string man_page(const CLI::App& app, const std::vector<CommandRow>& commands);
[[nodiscard]] std::string man_page(const CommandRow& command);
[[nodiscard]] std::string bash_completion(const std::vector<CommandRow>& commands);
[[nodiscard]] std::string zsh_completion(const std::vector<CommandRow>& commands);
[[nodiscard]] std::string fish_completion(const std::vector<CommandRow>& commands);

// Names of all trace events, with `separator` between them.
[[nodiscard]] std::string event_names(const char* separator);

// Writes all of them into a folder, which must exist.
[[nodiscard]] int generate_command(const CLI::App& app, const std::string& folder);

} // namespace seamless::cli
