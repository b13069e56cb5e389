// SPDX-License-Identifier: Apache-2.0
// Reads the options back from their declaration, and writes man pages.
#include "cli/generate.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>

#include "cli/commands.h"
#include "trace/event.h"

namespace seamless::cli {
namespace {

// Line breaks are for --help.
std::string one_line(std::string text)
{
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

// "stdio|null|file:NAME" as stdio, null and "file:".
std::vector<std::string> words_of(const std::string& value)
{
    std::vector<std::string> words;
    if (value.find('|') == std::string::npos)
        return words;
    for (std::size_t at = 0; at <= value.size();) {
        const std::size_t end = std::min(value.find('|', at), value.size());
        std::string word = value.substr(at, end - at);
        word.resize(std::min(word.find('['), word.size()));
        const std::size_t colon = word.find(':');
        words.push_back(colon == std::string::npos ? word : word.substr(0, colon + 1));
        at = end + 1;
    }
    return words;
}

OptionRow row_of(const CLI::Option& option)
{
    OptionRow row;
    row.positional = option.get_positional();
    row.about = one_line(option.get_description());
    row.standard = option.get_default_str();
    if (option.get_items_expected_max() > 0)
        row.value = option.get_type_name();
    if (row.positional)
        row.name = option.get_type_name();
    else
        row.name = option.get_lnames().empty() ? "-" + option.get_snames().front()
                                               : "--" + option.get_lnames().front();
    row.words = words_of(row.value);
    row.file = row.value.starts_with("FILE");
    row.events = row.value.find(":EVENT") != std::string::npos;
    return row;
}

// For troff a backslash, a dash, and a dot or quote at the beginning of a line mean something.
std::string roff(const std::string& text)
{
    std::string out;
    for (const char c : text) {
        if (out.empty() && (c == '.' || c == '\''))
            out += "\\&";
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else
            out += c == '\n' ? ' ' : c;
        if (c == ',')
            out += "\\:"; // a long list may break here
    }
    return out;
}

std::string heading(const std::string& name, const std::string& about)
{
    std::string title = name;
    std::transform(title.begin(), title.end(), title.begin(), [](char c) { return std::toupper(c); });
    return fmt::format(".TH {} 1 \"\" \"Seamless {}\" \"User Commands\"\n.ad l\n.SH NAME\n{} \\- {}\n",
                       roff(title), SEAMLESS_VERSION, roff(name), roff(about));
}

bool write_file(const std::string& path, const std::string& text)
{
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << text;
    file.flush();
    if (!file)
        complain({fmt::format("{}: {}", path, std::strerror(errno))}, kUsage);
    return file.good();
}

} // namespace

std::vector<CommandRow> rows_of(const CLI::App& app)
{
    std::vector<CommandRow> rows;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        if (command->get_group().empty())
            continue;
        CommandRow row{.name = command->get_name(),
                       .about = one_line(command->get_description()),
                       .footer = command->get_footer(),
                       .options = {}};
        for (const CLI::Option* option : command->get_options())
            row.options.push_back(row_of(*option));
        rows.push_back(std::move(row));
    }
    return rows;
}

std::string event_names(const char* separator)
{
    std::string out;
    for (unsigned i = 0; i <= static_cast<unsigned>(trace::Event::ve_inject); ++i)
        out += (i == 0 ? "" : separator) + std::string(trace::row_of(static_cast<trace::Event>(i)).name);
    return out;
}

std::string man_page(const CLI::App& app, const std::vector<CommandRow>& commands)
{
    std::string out = heading("seamless", one_line(app.get_description()));
    out += ".SH SYNOPSIS\n.B seamless\n.I COMMAND\n.RI [ OPTIONS ]\n.SH DESCRIPTION\n"
           "Runs guests, trust domains (TDs) included, on any x86\\-64 Linux machine: without TDX, KVM or "
           "root.\nSeamless is for developing, testing and studying; it is not a security boundary.\n.SH "
           "COMMANDS\n";
    for (const CommandRow& command : commands)
        out += fmt::format(".TP\n.BR seamless\\-{} (1)\n{}.\n", roff(command.name), roff(command.about));
    out += ".SH OPTIONS\n.TP\n.B \\-\\-help\nPrint what there is and exit; also for each command.\n.TP\n.B "
           "\\-\\-version\nPrint the version and exit.\n.SH SEE ALSO\n";
    for (const CommandRow& command : commands)
        out += fmt::format(".BR seamless\\-{} (1){}\n", roff(command.name),
                           &command == &commands.back() ? "" : ",");
    return out;
}

std::string man_page(const CommandRow& command)
{
    std::string out = heading("seamless-" + command.name, command.about);
    out += fmt::format(".SH SYNOPSIS\n.B seamless {}\n", roff(command.name));
    for (const OptionRow& option : command.options)
        if (option.positional)
            out += fmt::format(".I {}\n", roff(option.name));
    out += ".RI [ OPTIONS ]\n.SH OPTIONS\n";
    for (const OptionRow& option : command.options) {
        out += option.value.empty() || option.positional
                   ? fmt::format(".TP\n.B {}\n", roff(option.name))
                   : fmt::format(".TP\n.BI {} \" {}\"\n", roff(option.name), roff(option.value));
        out += roff(option.about) + "\n";
        if (!option.standard.empty())
            out += fmt::format("(default: {})\n", roff(option.standard));
    }
    if (!command.footer.empty())
        out += fmt::format(".SH EXIT STATUS\n{}\n", roff(command.footer));
    if (command.name == "run")
        out += ".SH NOTES\nQEMU's spellings \\-kernel, \\-initrd, \\-append, \\-bios, \\-m, \\-smp, \\-gdb, "
               "\\-s, \\-S and \\-no\\-reboot are understood.\n";
    return out + ".SH SEE ALSO\n.BR seamless (1)\n";
}

int generate_command(const CLI::App& app, const std::string& folder)
{
    const std::vector<CommandRow> commands = rows_of(app);
    bool good = write_file(folder + "/seamless.1", man_page(app, commands)) &&
                write_file(folder + "/seamless.bash", bash_completion(commands)) &&
                write_file(folder + "/_seamless", zsh_completion(commands)) &&
                write_file(folder + "/seamless.fish", fish_completion(commands));
    for (const CommandRow& command : commands)
        good = good && write_file(fmt::format("{}/seamless-{}.1", folder, command.name), man_page(command));
    return good ? 0 : kUsage;
}

} // namespace seamless::cli
