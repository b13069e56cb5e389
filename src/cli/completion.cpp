// SPDX-License-Identifier: Apache-2.0
// Completion for three shells: commands, options, files, words, and the events behind --trace FILE:.
#include <fmt/format.h>

#include "cli/generate.h"

namespace seamless::cli {
namespace {

// Inside single quotes of bash and zsh.
std::string single_quoted(const std::string& text)
{
    std::string out;
    for (const char c : text)
        out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out;
}

// Inside single quotes of zsh's _arguments, where brackets and colons mean something too.
std::string zsh_text(const std::string& text)
{
    std::string out;
    for (const char c : text) {
        if (c == '[' || c == ']' || c == ':' || c == '\\')
            out += '\\';
        out += c;
    }
    return single_quoted(out);
}

std::string fish_text(const std::string& text)
{
    std::string out;
    for (const char c : text) {
        if (c == '\'' || c == '\\')
            out += '\\';
        out += c;
    }
    return out;
}

std::string all_names(const CommandRow& command)
{
    std::string out;
    for (const OptionRow& option : command.options)
        if (!option.positional)
            out += (out.empty() ? "" : " ") + option.name;
    return out;
}

std::string zsh_action(const OptionRow& option)
{
    if (option.events)
        return "_seamless_trace";
    if (option.file)
        return "_files";
    if (option.words.empty())
        return " ";
    std::string words;
    bool file = false;
    for (const std::string& word : option.words) {
        file |= word == "file:";
        words += (words.empty() ? "" : " ") + word;
    }
    return file ? fmt::format("_seamless_words {}", words) : fmt::format("({})", words);
}

} // namespace

std::string bash_completion(const std::vector<CommandRow>& commands)
{
    std::string names, cases, options;
    for (const CommandRow& command : commands) {
        names += (names.empty() ? "" : " ") + command.name;
        options +=
            fmt::format("        {}) words='{}' ;;\n", command.name, single_quoted(all_names(command)));
        for (const OptionRow& option : command.options) {
            const std::string pattern = fmt::format("'{} {}'", command.name, option.name);
            if (option.events)
                cases += fmt::format("        {}) _seamless_trace \"$cur\"; return ;;\n", pattern);
            else if (option.file && !option.positional)
                cases += fmt::format("        {}) _seamless_files \"$cur\"; return ;;\n", pattern);
            else if (!option.words.empty())
                cases += fmt::format("        {}) _seamless_words \"$cur\" '{}'; return ;;\n", pattern,
                                     fmt::format("{}", fmt::join(option.words, " ")));
            else if (!option.value.empty() && !option.positional)
                cases += fmt::format("        {}) return ;;\n", pattern);
        }
    }
    return fmt::format(R"(# SPDX-License-Identifier: Apache-2.0
# Completion of seamless for bash. Bash ends words at colons, so what is completed behind one is given without
# what stands before.
_seamless_files() {{ compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$1"); }}
_seamless_words() {{
    if [[ $1 == file:* ]]; then _seamless_files "${{1#file:}}"; return; fi
    mapfile -t COMPREPLY < <(compgen -W "$2" -- "$1")
    [[ ${{COMPREPLY[*]}} == *: ]] && compopt -o nospace 2> /dev/null
}}
_seamless_trace() {{
    if [[ $1 != *:* ]]; then _seamless_files "$1"; return; fi
    local list=${{1##*:}} before=
    [[ $list == *,* ]] && before=${{list%,*}},
    mapfile -t COMPREPLY < <(compgen -P "$before" -W '{events}' -- "${{list##*,}}")
    compopt -o nospace 2> /dev/null
}}
_seamless() {{
    local line=${{COMP_LINE:0:COMP_POINT}} cur prev command words=
    local -a typed
    read -ra typed <<< "$line"
    cur=; [[ $line == *' ' ]] || {{ cur=${{typed[-1]}}; unset 'typed[-1]'; }}
    COMPREPLY=()
    if ((${{#typed[@]}} <= 1)); then mapfile -t COMPREPLY < <(compgen -W '{names} --help --version' -- "$cur"); return; fi
    command=${{typed[1]}} prev=${{typed[-1]}}
    case "$command $prev" in
{cases}    esac
    case $command in
{options}    esac
    if [[ $cur == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"); return; fi
    _seamless_files "$cur"
}}
complete -F _seamless seamless
)",
                       fmt::arg("events", event_names(" ")), fmt::arg("names", names),
                       fmt::arg("cases", cases), fmt::arg("options", options));
}

std::string zsh_completion(const std::vector<CommandRow>& commands)
{
    std::string list, cases;
    for (const CommandRow& command : commands) {
        list += fmt::format("    '{}:{}'\n", command.name, zsh_text(command.about));
        cases += fmt::format("    {}) _arguments", command.name);
        for (const OptionRow& option : command.options) {
            if (option.positional)
                cases += fmt::format(" \\\n      ':{}:_files'", zsh_text(option.about));
            else if (option.value.empty())
                cases += fmt::format(" \\\n      '{}[{}]'", option.name, zsh_text(option.about));
            else
                cases += fmt::format(" \\\n      '*{}[{}]:{}:{}'", option.name, zsh_text(option.about),
                                     zsh_text(option.value), zsh_action(option));
        }
        cases += " ;;\n";
    }
    return fmt::format(R"(#compdef seamless
# SPDX-License-Identifier: Apache-2.0
# Completion of seamless for zsh.
_seamless_trace() {{
  if compset -P '*:'; then compset -P '*,'; compadd -S '' -- {events}; else _files; fi
}}
_seamless_words() {{
  if compset -P 'file:'; then _files; else compadd -S '' -- "$@"; fi
}}
_seamless() {{
  local -a commands=(
{list}  )
  if ((CURRENT == 2)); then
    _describe command commands
    _arguments '--help[Print help]' '--version[Print the version]'
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
{cases}  esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _seamless "$@"; else compdef _seamless seamless; fi
)",
                       fmt::arg("events", event_names(" ")), fmt::arg("list", list),
                       fmt::arg("cases", cases));
}

std::string fish_completion(const std::vector<CommandRow>& commands)
{
    std::string out = fmt::format(R"(# SPDX-License-Identifier: Apache-2.0
# Completion of seamless for fish.
function __seamless_trace
    set -l word (commandline -ct)
    if not string match -q '*:*' -- $word
        __fish_complete_path $word
        return
    end
    set -l before (string replace -r '[^:,]*$' '' -- $word)
    for event in {}
        echo $before$event
    end
end
complete -c seamless -f
complete -c seamless -n __fish_use_subcommand -l help -d 'Print help'
complete -c seamless -n __fish_use_subcommand -l version -d 'Print the version'
)",
                                  event_names(" "));
    for (const CommandRow& command : commands) {
        out += fmt::format("complete -c seamless -n __fish_use_subcommand -a {} -d '{}'\n", command.name,
                           fish_text(command.about));
        for (const OptionRow& option : command.options) {
            const bool is_long = option.name.starts_with("--");
            const std::string name = option.positional ? ""
                                     : is_long         ? " -l " + option.name.substr(2)
                                                       : " -s " + option.name.substr(1);
            std::string value;
            if (option.events)
                value = " -x -a '(__seamless_trace)'";
            else if (option.file)
                value = option.positional ? " -F" : " -r -F";
            else if (!option.words.empty())
                value = fmt::format(" -x -a '{}'", fmt::join(option.words, " "));
            else if (!option.value.empty())
                value = " -x";
            out += fmt::format("complete -c seamless -n '__fish_seen_subcommand_from {}'{}{} -d '{}'\n",
                               command.name, name, value, fish_text(option.about));
        }
    }
    return out;
}

} // namespace seamless::cli
