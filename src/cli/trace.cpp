// SPDX-License-Identifier: Apache-2.0
// `seamless trace`: what a recorded trace says about MMIO and #VE.
#include <Zydis/Zydis.h>
#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <fstream>

#include "cli/commands.h"
#include "cli/symbols.h"
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

Result<Symbols, Message> read_symbols(const std::string& path)
{
    if (path.empty())
        return Symbols{};
    std::ifstream file(path);
    if (!file)
        return fail(Message{fmt::format("{}: {}", path, std::strerror(errno))});
    return Symbols::read(file, path);
}

// "8b06" as "mov eax, dword ptr [rsi]". The trace does not say the mode; nearly all guest code is 64-bit.
std::string disassemble(std::string_view hex, u64 rip)
{
    u8 bytes[ZYDIS_MAX_INSTRUCTION_LENGTH] = {};
    std::size_t count = 0;
    for (; 2 * count + 1 < hex.size() && count < sizeof bytes; ++count) {
        const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
        bytes[count] = static_cast<u8>(digit(hex[2 * count]) << 4 | (digit(hex[2 * count + 1]) & 15));
    }
    ZydisDisassembledInstruction instruction;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, rip, bytes, count, &instruction)))
        return {};
    return instruction.text;
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

double micros(u64 ns) { return static_cast<double>(ns) / 1000; }
double each(const trace::Tally& tally) { return micros(tally.ns) / static_cast<double>(tally.count); }

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
        pages[key.page].ns += tally.ns;
    }
    fmt::print("\nMMIO: {} pages\n", pages.size());
    for (const auto& [page, total] : by_count(pages)) {
        fmt::print("\n  page {:#x}: {} accesses, {:.1f} us\n", page, total.count, micros(total.ns));
        fmt::print("    {:>8} {:>9}  {:<5} {:>4}  {:<10}  {}\n", "count", "us each", "r/w", "size",
                   "answered by", "instruction");
        for (const auto& [key, tally] : by_count(summary.accesses))
            if (key.page == page)
                fmt::print("    {:>8} {:>9.2f}  {:<5} {:>4}  {:<11}  {}\n", tally.count, each(tally),
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
        fmt::print("    {:>8} {:>9.2f}  {:<16} {:<20}  {}\n", tally.count, each(tally), key.exit_reason,
                   key.call.empty() ? "-" : key.call, code(key.rip, key.insn, symbols));
}

} // namespace

int trace_command(const std::string& path, const std::string& symbol_file)
{
    const auto symbols = read_symbols(symbol_file);
    if (!symbols.ok())
        return complain(symbols.error(), kUsage);
    const auto summary = summarize(path);
    if (!summary.ok())
        return complain(summary.error(), kUsage);
    const trace::Summary& s = summary.value();
    fmt::print("{}: {} events, {} vCPUs, {:.6f} s\n", path, s.events, s.vcpus(),
               static_cast<double>(s.last_ts - std::min(s.first_ts, s.last_ts)) / 1e9);
    print_accesses(s, symbols.value());
    print_ves(s, symbols.value());
    return 0;
}

} // namespace seamless::cli
