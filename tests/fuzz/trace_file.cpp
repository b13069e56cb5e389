// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reading of recorded traces: any bytes, or lines made of the names that a trace has.
#include <sstream>

#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "trace/summary.h"

namespace seamless::fuzz {
namespace {

// A line with fields of its event, in which a value may be anything.
std::string draw_line(Input& in)
{
    const trace::EventRow& row = trace::row_of(static_cast<trace::Event>(in.below(18)));
    std::string line = "{\"ts\":" + std::to_string(in.number()) + ",\"vcpu\":" + std::to_string(in.below(3)) +
                       ",\"ev\":\"" + std::string(row.name) + "\"";
    constexpr const char* values[] = {"\"0xfe000000\"",    "4",          "\"read\"", "\"unsatisfied-read\"",
                                      "\"KVM_EXIT_MMIO\"", "\"td\"",     "-1",       "null",
                                      "\"8b06\"",          "\"\\u0000\""};
    for (const trace::Field& field : row.fields)
        if (!field.name.empty() && in.byte() < 224)
            line += ",\"" + std::string(field.name) + "\":" + in.pick(values);
    return line + "}\n";
}

void run(Input in)
{
    std::string text;
    if (in.flag())
        while (!in.empty())
            text += draw_line(in);
    else
        text.assign(in.rest().begin(), in.rest().end());
    std::istringstream stream(text);
    trace::Reader reader(stream, "input");
    trace::Summary summary;
    for (;;) {
        const auto line = reader.next();
        if (!line.ok() || line.value() == nullptr)
            break;
        if (line.value()->row != nullptr)
            Depth::reached("events", line.value()->row->name);
        summary.add(*line.value());
    }
    summary.finish();
    for (const auto& [access, tally] : summary.accesses)
        Depth::reached("answers", trace::name_of(access.answer));
    for (const auto& [ve, tally] : summary.ves)
        Depth::reached("ves", ve.call.empty() ? "without a call" : "with a call");
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
