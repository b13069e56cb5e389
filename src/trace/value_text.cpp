// SPDX-License-Identifier: Apache-2.0
// Addresses, values and masks are hex, counts are decimal, instructions are hex bytes.
#include "trace/value_text.h"

#include <fmt/format.h>

namespace seamless::trace {

std::string value_text(const Field& field, const Value& value)
{
    switch (value.kind) {
    case Value::Kind::text:
        return value.text;
    case Value::Kind::bytes:
        return fmt::format(
            "{:02x}", fmt::join(value.bytes.data.begin(), value.bytes.data.begin() + value.bytes.size, ""));
    case Value::Kind::number:
        return field.format == Format::hex ? fmt::format("{:#x}", value.number)
                                           : fmt::format("{}", value.number);
    case Value::Kind::absent:
        break;
    }
    return {};
}

std::string json_quoted(std::string_view text)
{
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += {'\\', c};
        else if (static_cast<u8>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
            out += c;
    }
    return out + '"';
}

std::string value_json(const Field& field, const Value& value)
{
    if (value.kind == Value::Kind::absent)
        return "null";
    const std::string text = value_text(field, value);
    const bool bare = value.kind == Value::Kind::number && field.format != Format::hex;
    if (bare)
        return text;
    return json_quoted(text); // our own names need no escape; those of a trace that is read may
}

} // namespace seamless::trace
