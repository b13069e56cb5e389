// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reading of recorded traces, and what is made of them (summary, page, file for Perfetto): any
// bytes, or lines made of the names that a trace has.
#include <cstdlib>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "trace/chrome.h"
#include "trace/line_record.h"
#include "trace/page.h"
#include "trace/summary.h"

namespace seamless::fuzz {
namespace {

// A line with fields of its event, in which a value may be anything.
std::string draw_line(Input& in)
{
    const trace::EventRow& row = trace::row_of(static_cast<trace::Event>(in.below(18)));
    std::string line = "{\"ts\":" + std::to_string(in.number()) + ",\"vcpu\":" + std::to_string(in.below(3)) +
                       ",\"ev\":\"" + std::string(row.name) + "\"";
    constexpr const char* values[] = {"\"0xfe000000\"",
                                      "4",
                                      "\"read\"",
                                      "\"unsatisfied-read\"",
                                      "\"KVM_EXIT_MMIO\"",
                                      "\"td\"",
                                      "-1",
                                      "null",
                                      "\"8b06\"",
                                      "\"\\u0000\"",
                                      "\"</script>\\\"\\\\\""};
    for (const trace::Field& field : row.fields)
        if (!field.name.empty() && in.byte() < 224)
            line += ",\"" + std::string(field.name) + "\":" + in.pick(values);
    return line + "}\n";
}

class NoNames : public trace::CodeNames {
  public:
    [[nodiscard]] std::string disassembled(std::string_view insn, u64) const override
    {
        return std::string(insn);
    }
    [[nodiscard]] std::string symbol(u64) const override { return {}; }
};

// Whatever a trace says, the page has as many scripts as it writes itself: its own, and data blocks of
// base64.
void check_page(const std::string& page)
{
    for (const char* mark : {"class=\"events\">", "class=\"episodes\">", "class=\"tables\">"}) {
        const std::size_t at = page.find(mark);
        if (at == std::string::npos)
            continue;
        const std::size_t data = page.find('>', at) + 1;
        if (page.compare(page.find_first_not_of(
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", data),
                         9, "</script>") != 0)
            std::abort();
    }
}

// The file for Perfetto is JSON, whatever a trace says.
void check_perfetto(int fd)
{
    std::string text(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), 0);
    const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
    if (got != static_cast<ssize_t>(text.size()) || !nlohmann::json::accept(text))
        std::abort();
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
    const NoNames names;
    std::ostringstream html;
    trace::Page page(html, "trace", names);
    const int fd = ::memfd_create("perfetto", 0);
    trace::ChromeSink perfetto(::dup(fd));
    for (;;) {
        const auto line = reader.next();
        if (!line.ok() || line.value() == nullptr)
            break;
        if (line.value()->row != nullptr)
            Depth::reached("events", line.value()->row->name);
        summary.add(*line.value());
        page.add(*line.value());
        if (line.value()->row != nullptr)
            perfetto.write(trace::record_of(*line.value()));
    }
    summary.finish();
    page.finish();
    check_page(html.str());
    perfetto.finish();
    check_perfetto(fd);
    ::close(fd);
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
