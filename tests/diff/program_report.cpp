// SPDX-License-Identifier: Apache-2.0
// What a reader needs to find the cause: the event, the registers, the instructions.
#include "diff/program_report.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <span>

#include "decode/instruction.h"

namespace seamless::diff {
namespace {

constexpr u8 kNop = 0x90, kFiller = 0xcc;
constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

void differ(std::string& text, std::string_view name, u64 expected, u64 found)
{
    if (expected != found)
        text += fmt::format("    {:<10} step {:#x}, full {:#x}\n", name, expected, found);
}

std::string in_event(const ProgramEvent& e, const ProgramEvent& f, std::size_t index, std::size_t count)
{
    std::string text = fmt::format("  event {} of {}, at {:#x}, vector {}, cr2 {:#x}:\n", index, count, e.rip,
                                   e.vector, e.cr2);
    differ(text, "vector", static_cast<u64>(e.vector), static_cast<u64>(f.vector));
    differ(text, "error code", e.error_code, f.error_code);
    differ(text, "cr2", e.cr2, f.cr2);
    differ(text, "rip", e.rip, f.rip);
    differ(text, "rflags", e.rflags, f.rflags);
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        differ(text, kNames[i], e.gpr[i], f.gpr[i]);
    differ(text, "extended", e.extended, f.extended);
    return text;
}

std::string place_of(u64 at)
{
    using namespace layout;
    const u64 number = at / kPageSize;
    if (number == kFrameCount)
        return fmt::format("entry of {:#x}", kRegion + at % kPageSize / 8 * kPageSize);
    for (unsigned i = 0; i < kFrameCount; ++i)
        if (frame(i) == kFrames + number * kPageSize)
            return fmt::format("{} frame {}, {:#x}",
                               i < kStackFrame   ? "data"
                               : i < kTableFrame ? "stack"
                                                 : "code",
                               i, at % kPageSize);
    return {};
}

} // namespace

std::string difference(const ProgramOutcome& expected, const ProgramOutcome& found)
{
    const std::size_t count = std::min(expected.events.size(), found.events.size());
    for (std::size_t i = 0; i < count; ++i)
        if (expected.events[i] != found.events[i])
            return in_event(expected.events[i], found.events[i], i, expected.events.size());
    if (expected.events.size() != found.events.size() || expected.end != found.end)
        return fmt::format("  {} events and end {}, but {} and {}\n", expected.events.size(),
                           static_cast<int>(expected.end), found.events.size(), static_cast<int>(found.end));
    if (std::memcmp(expected.memory.data(), found.memory.data(), expected.memory.size()) == 0)
        return {};
    std::string text = "  memory at the end:\n";
    unsigned shown = 0;
    for (std::size_t i = 0; i < expected.memory.size() && shown < 16; ++i)
        if (expected.memory[i] != found.memory[i]) {
            differ(text, place_of(i), expected.memory[i], found.memory[i]);
            ++shown;
        }
    return text;
}

void Program::remove(std::size_t piece)
{
    const ProgramPiece& p = pieces[piece];
    std::fill(code.begin() + static_cast<i64>(p.begin), code.begin() + static_cast<i64>(p.end), kNop);
}

std::string describe(const Program& program)
{
    std::string text =
        fmt::format("  CPL {}, starts at {:#x}, flags {:#x}, fs {:#x}, gs {:#x}\n ", program.user ? 3 : 0,
                    program.start, program.rflags, program.fs_base, program.gs_base);
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        text += fmt::format(" {} {:#x}", kNames[i], program.gpr[i]);
    text += '\n';
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    for (u64 at = 0; at < program.code.size();) {
        decode::Instruction insn;
        const auto rest = std::span(program.code).subspan(at);
        const u64 address = layout::kCode + at;
        if (rest[0] == kNop || rest[0] == kFiller ||
            decode::decode(rest, decode::CodeSize::bits64, insn) != decode::DecodeStatus::ok) {
            ++at;
            continue;
        }
        char line[128] = {};
        ZydisFormatterFormatInstruction(&formatter, &insn.z, insn.operands, insn.z.operand_count_visible,
                                        line, sizeof line, address, nullptr);
        text += fmt::format("  {:#x}: {:<32} {}\n", address,
                            fmt::format("{:02x}", fmt::join(rest.first(insn.length()), "")), line);
        at += insn.length();
    }
    return text;
}

} // namespace seamless::diff
