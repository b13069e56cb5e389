// SPDX-License-Identifier: Apache-2.0
// Blocks are of a size that a browser decodes between two frames.
#include "trace/packed_stream.h"

#include <fmt/format.h>

namespace seamless::trace {
namespace {

constexpr std::size_t kBlock = 384 << 10;

} // namespace

void append_varint(std::string& bytes, u64 value)
{
    for (; value >= 0x80; value >>= 7)
        bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
}

void append_signed(std::string& bytes, i64 value)
{
    append_varint(bytes, static_cast<u64>(value) << 1 ^ static_cast<u64>(value >> 63));
}

void write_base64(std::ostream& out, std::string_view bytes)
{
    static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const auto byte = [&](std::size_t i) {
            return at + i < bytes.size() ? static_cast<unsigned>(static_cast<u8>(bytes[at + i])) : 0u;
        };
        const unsigned bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text += kDigits[bits >> 18];
        text += kDigits[bits >> 12 & 63];
        text += at + 1 < bytes.size() ? kDigits[bits >> 6 & 63] : '=';
        text += at + 2 < bytes.size() ? kDigits[bits & 63] : '=';
    }
    out << text;
}

void PackedStream::append(std::string_view bytes)
{
    pending_ += bytes;
    if (pending_.size() >= kBlock)
        flush();
}

void PackedStream::finish()
{
    if (!pending_.empty())
        flush();
}

void PackedStream::flush()
{
    out_ << "<script type=\"application/base64\" class=\"" << name_ << "\">";
    write_base64(out_, pending_);
    out_ << "</script>\n";
    pending_.clear();
}

} // namespace seamless::trace
