// SPDX-License-Identifier: Apache-2.0
// Writes records as JSON lines: numbers that are addresses, values or masks as hex strings, counts as
// numbers.
#include "trace/jsonl.h"

#include <fmt/format.h>
#include <iterator>

namespace seamless::trace {
namespace {

void append_value(std::string& out, const Field& field, const Value& value)
{
    const auto to = std::back_inserter(out);
    fmt::format_to(to, ",\"{}\":", field.name);
    switch (value.kind) {
    case Value::Kind::text:
        fmt::format_to(to, "\"{}\"", value.text);
        break;
    case Value::Kind::bytes:
        fmt::format_to(to, "\"{:02x}\"",
                       fmt::join(value.bytes.data.begin(), value.bytes.data.begin() + value.bytes.size, ""));
        break;
    case Value::Kind::number:
        if (field.format == Format::hex)
            fmt::format_to(to, "\"{:#x}\"", value.number);
        else
            fmt::format_to(to, "{}", value.number);
        break;
    case Value::Kind::absent:
        out += "null";
        break;
    }
}

} // namespace

std::string to_json(const Record& record)
{
    const EventRow& row = row_of(record.event);
    std::string out = fmt::format("{{\"ts\":{},\"vcpu\":{},\"ev\":\"{}\"", record.ts, record.vcpu, row.name);
    for (unsigned i = 0; i < record.count; ++i)
        if (record.values[i].kind != Value::Kind::absent)
            append_value(out, row.fields[i], record.values[i]);
    out += '}';
    return out;
}

JsonlSink::~JsonlSink() { std::fclose(file_); }

void JsonlSink::write(const Record& record)
{
    const std::string line = to_json(record) + "\n";
    const std::lock_guard lock(mutex_);
    std::fwrite(line.data(), 1, line.size(), file_);
}

} // namespace seamless::trace
