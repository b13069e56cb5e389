// SPDX-License-Identifier: Apache-2.0
// The last words of a guest, made harmless.
#include "vmm/report/console_tail.h"

#include <fmt/format.h>

namespace seamless::vmm::report {

void ConsoleTail::transmit_all(std::span<const u8> bytes)
{
    next_.transmit_all(bytes);
    const std::lock_guard lock(mutex_);
    kept_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (kept_.size() > 2 * kKept)
        kept_.erase(0, kept_.size() - kKept);
}

std::string ConsoleTail::panic() const
{
    constexpr std::string_view kWords = "Kernel panic - not syncing: ";
    constexpr std::size_t kLongest = 300;
    const std::lock_guard lock(mutex_);
    const std::string_view text = kept_;
    std::size_t at = text.find(kWords);
    if (at == std::string_view::npos)
        return {};
    at += kWords.size();
    return printable(text.substr(at, text.find_first_of("\r\n", at) - at), kLongest);
}

std::string printable(std::string_view text, std::size_t most)
{
    std::string out;
    for (const char c : text.substr(0, most))
        out += c >= ' ' && c <= '~' ? c : '.';
    return text.size() > most ? out + "..." : out;
}

std::string json_text(std::string_view text)
{
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += {'\\', c};
        else if (c == '\n')
            out += "\\n";
        else if (c >= ' ' && c <= '~')
            out += c;
        else
            out += '?';
    }
    return out + '"';
}

} // namespace seamless::vmm::report
