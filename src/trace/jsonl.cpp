// SPDX-License-Identifier: Apache-2.0
// Writes records as JSON lines: numbers that are addresses, values or masks as hex strings, counts as
// numbers.
#include "trace/jsonl.h"

#include <fmt/format.h>

#include "trace/value_text.h"

namespace seamless::trace {
std::string to_json(const Record& record)
{
    const EventRow& row = row_of(record.event);
    std::string out = fmt::format("{{\"ts\":{},\"vcpu\":{},\"ev\":\"{}\"", record.ts, record.vcpu, row.name);
    for (unsigned i = 0; i < record.count; ++i)
        if (record.values[i].kind != Value::Kind::absent)
            out += fmt::format(",\"{}\":{}", row.fields[i].name, value_json(row.fields[i], record.values[i]));
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
