// SPDX-License-Identifier: Apache-2.0
// Framing, escapes, hexadecimal.
#include "gdb/packet.h"

#include <charconv>
#include <fmt/format.h>

namespace seamless::gdb {
namespace {

constexpr char kEscape = '}', kInterrupt = 3;
constexpr u8 kEscaped = 0x20;

u8 sum_of(std::string_view text)
{
    u8 sum = 0;
    for (const char c : text)
        sum = static_cast<u8>(sum + static_cast<u8>(c));
    return sum;
}

std::optional<u8> digit(char c)
{
    if (c >= '0' && c <= '9')
        return static_cast<u8>(c - '0');
    if (c >= 'a' && c <= 'f')
        return static_cast<u8>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F')
        return static_cast<u8>(c - 'A' + 10);
    return {};
}

std::string unescaped(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] == kEscape && i + 1 < text.size())
            out += static_cast<char>(static_cast<u8>(text[++i]) ^ kEscaped);
        else
            out += text[i];
    return out;
}

} // namespace

// What begins with `$`: whole, or not yet.
std::optional<Incoming> PacketReader::packet()
{
    constexpr std::size_t kChecksum = 2;
    const std::size_t end = buffer_.find('#');
    if (end == std::string::npos || buffer_.size() < end + 1 + kChecksum) {
        if (buffer_.size() <= 2 * kMaxPacket + 4) // every byte may be escaped
            return {};
        buffer_.clear(); // no packet is that long
        return Incoming{Incoming::Kind::damaged, {}};
    }
    const std::string data = buffer_.substr(1, end - 1);
    const auto high = digit(buffer_[end + 1]), low = digit(buffer_[end + 2]);
    buffer_.erase(0, end + 1 + kChecksum);
    if (!high || !low || (*high << 4 | *low) != sum_of(data) || data.size() > 2 * kMaxPacket)
        return Incoming{Incoming::Kind::damaged, {}};
    return Incoming{Incoming::Kind::packet, unescaped(data)};
}

std::optional<Incoming> PacketReader::next()
{
    while (!buffer_.empty()) {
        const char first = buffer_.front();
        if (first == '$')
            return packet();
        buffer_.erase(0, 1);
        if (first == '+')
            return Incoming{Incoming::Kind::acknowledged, {}};
        if (first == '-')
            return Incoming{Incoming::Kind::refused, {}};
        if (first == kInterrupt)
            return Incoming{Incoming::Kind::interrupt, {}};
        buffer_.erase(0, buffer_.find_first_of(std::string("$+-") + kInterrupt)); // noise
    }
    return {};
}

std::string framed(std::string_view data)
{
    std::string body;
    for (const char c : data)
        if (c == '$' || c == '#' || c == kEscape || c == '*')
            body += {kEscape, static_cast<char>(static_cast<u8>(c) ^ kEscaped)};
        else
            body += c;
    return fmt::format("${}#{:02x}", body, sum_of(body));
}

std::string to_hex(std::span<const u8> bytes)
{
    constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(2 * bytes.size());
    for (const u8 b : bytes)
        out += {kDigits[b >> 4], kDigits[b & 15]};
    return out;
}

std::string to_hex(std::string_view text)
{
    return to_hex(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
}

std::optional<std::string> from_hex(std::string_view text)
{
    if (text.size() % 2 != 0)
        return {};
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const auto high = digit(text[i]), low = digit(text[i + 1]);
        if (!high || !low)
            return {};
        out += static_cast<char>(*high << 4 | *low);
    }
    return out;
}

std::optional<u64> PacketText::number()
{
    u64 value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value, 16);
    if (error != std::errc{})
        return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
}

bool PacketText::take(std::string_view word)
{
    if (!rest_.starts_with(word))
        return false;
    rest_.remove_prefix(word.size());
    return true;
}

std::string_view PacketText::until(char end)
{
    const std::size_t at = rest_.find(end);
    const std::string_view before = rest_.substr(0, at);
    rest_.remove_prefix(at == std::string_view::npos ? rest_.size() : at + 1);
    return before;
}

} // namespace seamless::gdb
