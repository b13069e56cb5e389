// SPDX-License-Identifier: Apache-2.0
// The reverse of what the JSON-lines writer does.
#include "trace/line_record.h"

#include <array>
#include <charconv>
#include <optional>

namespace seamless::trace {
namespace {

std::optional<Bytes> parse_bytes(std::string_view hex)
{
    std::array<u8, 15> bytes{};
    if (hex.size() % 2 != 0 || hex.size() / 2 > bytes.size())
        return std::nullopt;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const char* const begin = hex.data() + i;
        const auto [end, error] = std::from_chars(begin, begin + 2, bytes[i / 2], 16);
        if (error != std::errc{} || end != begin + 2)
            return std::nullopt;
    }
    return Bytes(std::span(bytes).first(hex.size() / 2));
}

Value value_of(const Field& field, const Line& line)
{
    const std::string_view text = line.text(field.name);
    if (text.empty())
        return Absent{};
    switch (field.format) {
    case Format::hex:
    case Format::dec: {
        const std::optional<u64> number = line.number(field.name);
        return number ? Value(*number) : Value(Absent{});
    }
    case Format::bytes: {
        const std::optional<Bytes> bytes = parse_bytes(text);
        return bytes ? Value(*bytes) : Value(Absent{});
    }
    case Format::name:
        return text.data(); // a std::string's: it ends in a zero
    case Format::none:
        break;
    }
    return Absent{};
}

} // namespace

Record record_of(const Line& line)
{
    Record record;
    record.ts = line.ts;
    record.vcpu = line.vcpu;
    record.event = line.row->event;
    while (record.count < kMaxFields && line.row->fields[record.count].format != Format::none) {
        record.values[record.count] = value_of(line.row->fields[record.count], line);
        ++record.count;
    }
    return record;
}

} // namespace seamless::trace
