// SPDX-License-Identifier: Apache-2.0
// Reads symbol files. Undefined symbols, which nm prints without an address, are left out.
#include "cli/symbols.h"

#include <charconv>
#include <fmt/format.h>

namespace seamless::cli {
namespace {

constexpr u64 kFarthest = 1 << 20; // no function is longer

} // namespace

Result<Symbols, Message> Symbols::read(std::istream& stream, const std::string& name)
{
    Symbols symbols;
    std::string line;
    for (u64 number = 1; std::getline(stream, line); ++number) {
        if (line.empty() || line.starts_with(' '))
            continue;
        u64 address = 0;
        const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
        const auto digits = static_cast<std::size_t>(end - line.data());
        if (error != std::errc{} || line.size() < digits + 4 || line[digits] != ' ' ||
            line[digits + 2] != ' ')
            return fail(
                Message{fmt::format("{}: line {}: expected an address, a type and a name", name, number)});
        symbols.names_.try_emplace(address, line.substr(digits + 3));
    }
    if (symbols.names_.empty())
        return fail(Message{fmt::format("{}: no symbols", name)});
    return symbols;
}

std::string Symbols::at(u64 address) const
{
    auto next = names_.upper_bound(address);
    if (next == names_.begin())
        return {};
    --next;
    const u64 offset = address - next->first;
    if (offset > kFarthest)
        return {};
    return offset == 0 ? next->second : fmt::format("{}+{:#x}", next->second, offset);
}

} // namespace seamless::cli
