// SPDX-License-Identifier: Apache-2.0
// Reads the options of disks and networks.
#include <charconv>
#include <fmt/format.h>

#include "cli/options.h"

namespace seamless::cli {
namespace {

constexpr std::string_view kHostForward = "hostfwd=";

// What is before `separator`, which is removed with it; all of the text if there is none.
std::string_view next_part(std::string_view& text, char separator)
{
    const std::size_t at = text.find(separator);
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
    return part;
}

bool parse_port(std::string_view text, u16& port)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return error == std::errc{} && end == text.data() + text.size() && port != 0;
}

// "[ADDRESS]:PORT"; without an address, `address` stays what it is.
bool parse_end(std::string_view text, std::string& address, u16& port)
{
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return false;
    if (colon > 0)
        address = std::string(text.substr(0, colon));
    return parse_port(text.substr(colon + 1), port);
}

// "tcp:[ADDRESS]:PORT-[ADDRESS]:PORT", tcp being the default.
bool parse_forward(std::string_view text, vmm::HostForward& rule)
{
    const std::string_view protocol = next_part(text, ':');
    if (protocol != "tcp" && protocol != "udp" && !protocol.empty())
        return false;
    rule.udp = protocol == "udp";
    const std::string_view host = next_part(text, '-');
    return parse_end(host, rule.host_address, rule.host_port) &&
           parse_end(text, rule.guest_address, rule.guest_port);
}

} // namespace

DiskOption parse_disk(std::string_view text)
{
    constexpr std::string_view kReadOnly = ",ro";
    const bool read_only = text.ends_with(kReadOnly);
    if (read_only)
        text.remove_suffix(kReadOnly.size());
    return {.path = std::string(text), .read_only = read_only};
}

Result<NetOption, Message> parse_net(std::string_view text)
{
    const auto refuse = [whole = text](std::string_view why) {
        return fail(Message{fmt::format("--net \"{}\": {}", whole, why)});
    };
    const std::string_view kind = next_part(text, ',');
    if (kind != "user" && kind != "none")
        return refuse("it can be user or none");
    NetOption net{.user = kind == "user", .forwards = {}};
    while (!text.empty()) {
        std::string_view word = next_part(text, ',');
        if (!net.user || !word.starts_with(kHostForward))
            return refuse(fmt::format("\"{}\" is unknown here", word));
        word.remove_prefix(kHostForward.size());
        if (!parse_forward(word, net.forwards.emplace_back()))
            return refuse("hostfwd is tcp:[ADDRESS]:PORT-[ADDRESS]:PORT, or the same with udp");
    }
    return net;
}

} // namespace seamless::cli
