// SPDX-License-Identifier: Apache-2.0
// Packets of gdb's remote protocol: `$data#checksum`, acknowledgements, and the byte that interrupts.
// GDB manual: "Remote Protocol", "Overview".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bits.h"

namespace seamless::gdb {

inline constexpr std::size_t kMaxPacket = 0x4000; // bytes of data, as told to the debugger

struct Incoming {
    enum class Kind : u8 { packet, damaged, acknowledged, refused, interrupt } kind = Kind::packet;
    std::string data; // of a packet, unescaped
};

// Takes bytes as they come, and gives what they are.
class PacketReader {
  public:
    void feed(std::span<const u8> bytes) { buffer_.append(bytes.begin(), bytes.end()); }
    [[nodiscard]] std::optional<Incoming> next();

  private:
    [[nodiscard]] std::optional<Incoming> packet();

    std::string buffer_;
};

// As it is sent, with escapes and checksum.
[[nodiscard]] std::string framed(std::string_view data);

[[nodiscard]] std::string to_hex(std::span<const u8> bytes);
[[nodiscard]] std::string to_hex(std::string_view text);
// Nothing for what is no even number of hex digits.
[[nodiscard]] std::optional<std::string> from_hex(std::string_view text);

// Reads what a packet consists of, from the front.
class PacketText {
  public:
    explicit PacketText(std::string_view text) : rest_(text) {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }
    [[nodiscard]] std::string_view rest() const { return rest_; }
    // A hexadecimal number of 64 bits at most.
    [[nodiscard]] std::optional<u64> number();
    [[nodiscard]] std::optional<u64> number_after(std::string_view separator)
    {
        return take(separator) ? number() : std::nullopt;
    }
    // Takes `word` if it is next.
    [[nodiscard]] bool take(std::string_view word);
    // What is before `end`, which is taken too; everything if there is none.
    [[nodiscard]] std::string_view until(char end);

  private:
    std::string_view rest_;
};

} // namespace seamless::gdb
