// SPDX-License-Identifier: Apache-2.0
// Writes records as text: seconds, vCPU, event, and `name=value` for each field.
#include "trace/text.h"

#include <fmt/format.h>
#include <iterator>

#include "trace/value_text.h"

namespace seamless::trace {

std::string to_text(const Record& record)
{
    const EventRow& row = row_of(record.event);
    std::string out = fmt::format("{:5}.{:09} vcpu {:<2} {:<22}", record.ts / 1'000'000'000,
                                  record.ts % 1'000'000'000, record.vcpu, row.name);
    for (unsigned i = 0; i < record.count; ++i)
        if (record.values[i].kind != Value::Kind::absent)
            fmt::format_to(std::back_inserter(out), " {}={}", row.fields[i].name,
                           value_text(row.fields[i], record.values[i]));
    out.erase(out.find_last_not_of(' ') + 1);
    return out;
}

TextSink::~TextSink() { std::fclose(file_); }

void TextSink::write(const Record& record)
{
    const std::string line = to_text(record) + "\n";
    const std::lock_guard lock(mutex_);
    std::fwrite(line.data(), 1, line.size(), file_);
}

} // namespace seamless::trace
