// SPDX-License-Identifier: Apache-2.0
// `seamless trace`: what a recorded trace says about MMIO and #VE.
#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <fstream>

#include "cli/commands.h"
#include "cli/symbols.h"
#include "cli/trace_files.h"
#include "trace/summary.h"

namespace seamless::cli {
namespace {

Result<trace::Summary, Message> summarize(const std::string& path)
{
    std::ifstream file(path);
    if (!file)
        return fail(Message{fmt::format("{}: {}", path, std::strerror(errno))});
    trace::Reader reader(file, path);
    trace::Summary summary;
    while (const trace::Line* line = TRY(reader.next()))
        summary.add(*line);
    if (file.bad() || summary.events == 0)
        return fail(Message{fmt::format("{}: no trace events", path)});
    summary.finish();
    return summary;
}

// An instruction's place, bytes and meaning.
std::string code(u64 rip, const std::string& insn, const Symbols& symbols)
{
    if (rip == 0 && insn.empty())
        return "(not in the trace)";
    const std::string symbol = symbols.at(rip);
    const std::string text = disassemble(insn, rip);
    std::string out = fmt::format("{:#x}", rip);
    for (const auto& [part, gap] : {std::pair(&symbol, "  "), {&insn, "  "}, {&text, "  "}})
        if (!part->empty())
            out += gap + *part;
    return out;
}

std::string micros(u64 ns, u64 share = 1)
{
    return fmt::format("{:.2f}", static_cast<double>(ns) / 1000 / static_cast<double>(share));
}

// The mean of those that have a time; a filter may have taken the events that would tell.
std::string each(const trace::Tally& tally) { return tally.timed ? micros(tally.ns, tally.timed) : "-"; }

template <typename Key>
std::vector<std::pair<Key, trace::Tally>> by_count(const std::map<Key, trace::Tally>& rows)
{
    std::vector<std::pair<Key, trace::Tally>> sorted(rows.begin(), rows.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second.count > b.second.count; });
    return sorted;
}

void print_accesses(const trace::Summary& summary, const Symbols& symbols)
{
    std::map<u64, trace::Tally> pages;
    for (const auto& [key, tally] : summary.accesses) {
        pages[key.page].count += tally.count;
        pages[key.page].timed += tally.timed;
        pages[key.page].ns += tally.ns;
    }
    fmt::print("\nMMIO: {} pages\n", pages.size());
    for (const auto& [page, total] : by_count(pages)) {
        fmt::print("\n  page {:#x}: {} accesses, {}\n", page, total.count,
                   total.timed ? micros(total.ns) + " us" : "no times");
        fmt::print("    {:>8} {:>9}  {:<5} {:>4}  {:<10}  {}\n", "count", "us each", "r/w", "size",
                   "answered by", "instruction");
        for (const auto& [key, tally] : by_count(summary.accesses))
            if (key.page == page)
                fmt::print("    {:>8} {:>9}  {:<5} {:>4}  {:<11}  {}\n", tally.count, each(tally),
                           key.write ? "write" : "read", key.size, trace::name_of(key.answer),
                           code(key.rip, key.insn, symbols));
    }
}

void print_ves(const trace::Summary& summary, const Symbols& symbols)
{
    u64 total = 0;
    for (const auto& [key, tally] : summary.ves)
        total += tally.count;
    fmt::print("\n#VE: {}\n", total);
    if (total == 0)
        return;
    fmt::print("    {:>8} {:>9}  {:<16} {:<20}  {}\n", "count", "us each", "exit reason", "TDVMCALL",
               "instruction");
    for (const auto& [key, tally] : by_count(summary.ves))
        fmt::print("    {:>8} {:>9}  {:<16} {:<20}  {}\n", tally.count, each(tally), key.exit_reason,
                   key.call.empty() ? "-" : key.call, code(key.rip, key.insn, symbols));
}

void print_summary(const std::string& path, const trace::Summary& s, const Symbols& symbols)
{
    fmt::print("{}: {} events, {} vCPUs, {:.6f} s\n", path, s.events, s.vcpus(),
               static_cast<double>(s.last_ts - s.first_ts) / 1e9);
    print_accesses(s, symbols);
    print_ves(s, symbols);
}

} // namespace

int trace_command(const TraceOptions& o)
{
    const auto symbols = o.symbols.empty() ? Result<Symbols, Message>(Symbols{}) : Symbols::load(o.symbols);
    if (!symbols.ok())
        return complain(symbols.error(), kUsage);
    if (!o.html.empty())
        if (const auto done = write_page(o.file, o.html, symbols.value()); !done.ok())
            return complain(done.error(), kUsage);
    if (!o.perfetto.empty())
        if (const auto done = write_perfetto(o.file, o.perfetto); !done.ok())
            return complain(done.error(), kUsage);
    if ((!o.html.empty() || !o.perfetto.empty()) && !o.summary)
        return 0;
    const auto summary = summarize(o.file);
    if (!summary.ok())
        return complain(summary.error(), kUsage);
    print_summary(o.file, summary.value(), symbols.value());
    return 0;
}

} // namespace seamless::cli
