// SPDX-License-Identifier: Apache-2.0
// The table of monitor commands, and those about addresses and vCPUs.
#include "gdb/monitor.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "gdb/entry_text.h"
#include "gdb/registers.h"
#include "spec/tdx_abi.h"

namespace seamless::gdb {

// clang-format off
const Monitor::Row Monitor::kCommands[] = {
    {"events",   "[N]",        "the last N events of every kind, of all vCPUs (20)", 0, 1, &Monitor::events},
    {"exits",    "[N]",        "the last N VM exits of this vCPU (20)", 0, 1, &Monitor::exits},
    {"help",     "",           "this text", 0, 0, &Monitor::help},
    {"history",  "GPA",        "what became of a guest-physical page: faults, and what host and guest did to its EPT entries", 1, 1, &Monitor::history},
    {"td",       "",           "the TD: attributes, state, MRTD, RTMRs", 0, 0, &Monitor::td},
    {"vcpus",    "",           "where every vCPU is", 0, 0, &Monitor::vcpus},
    {"ve-info",  "",           "VE_INFO of this vCPU: the #VE whose information the guest has not read yet, or the last one", 0, 0, &Monitor::ve_info},
    {"ves",      "[N]",        "the last N #VEs of this vCPU (20)", 0, 1, &Monitor::ves},
    {"vmcalls",  "[N]",        "the last N TDG.VP.VMCALLs of this vCPU and their answers (20)", 0, 1, &Monitor::vmcalls},
    {"walk",     "ADDRESS",    "a linear address through the guest's tables and EPT, every entry decoded", 1, 1, &Monitor::walk},
    {"walk-gpa", "GPA",        "a guest-physical address through EPT; with the shared bit, through shared EPT", 1, 1, &Monitor::walk_physical},
    {"xp",       "GPA [BYTES]", "guest-physical memory (64 bytes)", 1, 2, &Monitor::memory},
};
// clang-format on

namespace {

std::vector<std::string_view> words_of(std::string_view line)
{
    std::vector<std::string_view> words;
    while (true) {
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (line.empty())
            return words;
        const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
        words.push_back(line.substr(0, end));
        line.remove_prefix(end);
    }
}

std::optional<u64> number(std::string_view text)
{
    const bool hex = text.starts_with("0x");
    if (hex)
        text.remove_prefix(2);
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    if (error != std::errc{} || end != text.data() + text.size())
        return {};
    return value;
}

} // namespace

std::string Monitor::run(std::string_view line, u32 vcpu)
{
    vcpu_ = vcpu;
    const std::vector<std::string_view> words = words_of(line);
    if (words.empty())
        return help({});
    for (const Row& row : kCommands) {
        if (row.name != words[0])
            continue;
        const auto rest = Words(words).subspan(1);
        if (rest.size() < row.least || rest.size() > row.most)
            return fmt::format("usage: monitor {} {}\n", row.name, row.arguments);
        return (this->*row.run)(rest);
    }
    return fmt::format("there is no command \"{}\"; monitor help lists them\n", words[0].substr(0, 40));
}

std::string Monitor::help(Words)
{
    std::string text =
        "Commands of seamless (numbers are decimal, or hexadecimal with 0x; a register's name stands for its "
        "value):\n";
    for (const Row& row : kCommands)
        text += fmt::format("  {:<20} {}\n", fmt::format("{} {}", row.name, row.arguments), row.help);
    return text + fmt::format("  {:<20} {}\n", "phys on|off",
                              "x, print and set use guest-physical addresses, or linear ones");
}

std::optional<u64> Monitor::address(std::string_view text)
{
    if (const auto value = number(text))
        return value;
    if (text.starts_with('$'))
        text.remove_prefix(1);
    const auto registers = guests_.registers(vcpu_);
    if (!registers)
        return {};
    for (const Register& reg : register_table(guests_.components())) {
        if (reg.name != text || reg.bits != 64)
            continue;
        u64 value = 0;
        const std::vector<u8> bytes = value_of(reg, *registers);
        std::copy(bytes.begin(), bytes.end(), reinterpret_cast<u8*>(&value));
        return value;
    }
    return {};
}

std::string Monitor::walk(Words words)
{
    const auto at = address(words[0]);
    if (!at)
        return fmt::format("\"{}\" is neither a number nor a register\n", words[0]);
    return walk_text(guests_.walk(vcpu_, Gva(*at)));
}

std::string Monitor::walk_physical(Words words)
{
    const auto at = address(words[0]);
    if (!at)
        return fmt::format("\"{}\" is neither a number nor a register\n", words[0]);
    return walk_text(guests_.walk(vcpu_, Gpa(*at)));
}

std::string Monitor::memory(Words words)
{
    constexpr u64 kMost = 4096, kLine = 16;
    const auto at = address(words[0]);
    const auto count = words.size() > 1 ? number(words[1]) : std::optional<u64>(64);
    if (!at || !count || *count > kMost)
        return fmt::format("usage: monitor xp GPA [BYTES], {} bytes at most\n", kMost);
    std::vector<u8> bytes(*count);
    bytes.resize(guests_.read(vcpu_, Gpa(*at), bytes));
    std::string text;
    for (u64 line = 0; line < bytes.size(); line += kLine) {
        const auto piece = std::span(bytes).subspan(line, std::min<u64>(kLine, bytes.size() - line));
        text += fmt::format("{:#014x}  {:02x}\n", *at + line, fmt::join(piece, " "));
    }
    if (bytes.size() < *count)
        text += fmt::format("no memory at guest-physical {:#x}\n", *at + bytes.size());
    return text;
}

std::string Monitor::vcpus(Words)
{
    std::string text;
    for (const trace::VcpuStatus& vcpu : guests_.vcpus()) {
        const auto registers = guests_.registers(vcpu.id);
        text += fmt::format("vCPU {:<3} {} {}", vcpu.id, vcpu.td ? "TD" : "plain VM",
                            vcpu.stopped ? "stands in the guest" : "is outside");
        if (registers)
            text += fmt::format(", rip {:#x} rsp {:#x} cr3 {:#x}{}", registers->rip,
                                registers->gpr[static_cast<unsigned>(spec::Gpr::rsp)], registers->cr3,
                                registers->halted ? ", halted" : "");
        if (!vcpu.stopped)
            text +=
                fmt::format(", since {}",
                            spec::exit_reason_name(static_cast<spec::ExitReason>(vcpu.exit_reason & 0xffff)));
        text += '\n';
    }
    return text;
}

} // namespace seamless::gdb
