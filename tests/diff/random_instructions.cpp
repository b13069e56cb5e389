// SPDX-License-Identifier: Apache-2.0
// Random instructions, run on the host and on the processor in its engine modes; every difference is a bug.
// random_instructions [--cases N] [--seed S] [--engine step|full|both] [--reports N];
// the environment variables SEAMLESS_DIFF_CASES, _SEED, _ENGINE and _REPORTS say the same.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "diff/generator.h"
#include "diff/guest_runner.h"
#include "diff/host_runner.h"

namespace seamless::diff {
namespace {

constexpr u64 kDefaultCases = 100'000; // ./check runs a million, optimised
// A signal frame cannot set the others.
constexpr u64 kComparedFlags = spec::rflags::kArithmetic | spec::rflags::DF;
constexpr u8 kNop = 0x90;
constexpr int kEnd = 3; // #BP: the case ran to its end

struct Options {
    u64 cases = kDefaultCases;
    u64 seed = 1;
    u64 reports = 25; // differences to print before giving up
    std::string engine = "both";
} options;

struct Engine {
    const char* name;
    bool full;
    std::unique_ptr<GuestRunner> runner;
};

class Differ {
  public:
    Differ() : generator_(options.seed, HostRunner::fs_base())
    {
        for (const auto mode : {cpu::EngineMode::step, cpu::EngineMode::full}) {
            const char* name = mode == cpu::EngineMode::step ? "step" : "full";
            if (options.engine == "both" || options.engine == name)
                engines_.push_back({name, mode == cpu::EngineMode::full,
                                    std::make_unique<GuestRunner>(mode, HostRunner::fs_base())});
        }
    }

    void run()
    {
        Case c;
        while (cases_ < options.cases && reports_ < options.reports) {
            generator_.next(c);
            count(c);
            for (const u64 flags : {u64{0}, spec::rflags::kArithmetic}) {
                c.inputs.rflags = (c.inputs.rflags & ~spec::rflags::kArithmetic) | flags;
                if (!check(c))
                    break;
            }
        }
        print_coverage();
    }

  private:
    void count(const Case& c)
    {
        for (const Piece& p : c.pieces) {
            ++cases_;
            ++by_isa_[ZydisISASetGetString(p.isa)];
            ++by_mnemonic_[p.mnemonic];
        }
    }

    // The differences on one engine; empty if there are none. The host has run already.
    std::string differences(const Case& c, const Engine& engine, const Outcome& host, Outcome& guest)
    {
        host_.last_words = describe(c);
        engine.runner->run(c.inputs, guest);
        Mask mask = c.pieces.back().mask;
        // DEVIATION of the full engine: a fault shows no arithmetic flags where what follows overwrites them.
        mask.flags = engine.full && host.vector != kEnd ? spec::rflags::DF : kComparedFlags;
        return compare(host, guest, mask);
    }

    bool check(const Case& c)
    {
        ++runs_;
        bool same = true;
        host_.run(c.inputs, expected_);
        ++vectors_[expected_.vector];
        for (const Engine& engine : engines_) {
            const std::string text = differences(c, engine, expected_, outcome_);
            if (text.empty())
                continue;
            same = false;
            report(c, engine, text);
        }
        return same;
    }

    // Replaces by NOPs what does not matter to the difference.
    Case shrink(const Case& c, const Engine& engine)
    {
        Case small = c;
        Outcome host;
        Outcome guest;
        for (std::size_t i = small.pieces.size(); i-- > 0;) {
            Case next = small;
            const Piece& p = next.pieces[i];
            std::fill(next.inputs.code.begin() + p.code_begin, next.inputs.code.begin() + p.code_end, kNop);
            if (i + 1 == next.pieces.size())
                next.pieces[i].mask = {};
            host_.run(next.inputs, host);
            if (!differences(next, engine, host, guest).empty())
                small = std::move(next);
        }
        return small;
    }

    static std::string describe(const Case& c)
    {
        return fmt::format("seed {}, code at {:#x}: {:02x}", options.seed, c.inputs.rip,
                           fmt::join(c.inputs.code, " "));
    }

    static std::string disassemble(const Case& c)
    {
        std::string text;
        ZydisFormatter formatter;
        ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
        for (u64 at = 0; at < c.inputs.code.size();) {
            decode::Instruction insn;
            const auto rest = std::span(c.inputs.code).subspan(at);
            if (decode::decode(rest, decode::CodeSize::bits64, insn) != decode::DecodeStatus::ok)
                break;
            char line[128] = {};
            ZydisFormatterFormatInstruction(&formatter, &insn.z, insn.operands, insn.z.operand_count_visible,
                                            line, sizeof line, c.inputs.rip + at, nullptr);
            if (insn.bytes[0] != kNop)
                text += fmt::format("  {:#x}: {:02x}  {}\n", c.inputs.rip + at,
                                    fmt::join(rest.first(insn.length()), " "), line);
            at += insn.length();
        }
        return text;
    }

    void report(const Case& c, const Engine& engine, const std::string& first)
    {
        const Case small = shrink(c, engine);
        Outcome host;
        Outcome guest;
        host_.run(small.inputs, host);
        std::string text = differences(small, engine, host, guest);
        if (text.empty()) // only once: something outlived the case before
            text = "  not again; the first time:\n" + first;
        std::string names;
        for (const Piece& p : small.pieces)
            if (small.inputs.code[p.code_begin] != kNop)
                names += std::string(" ") + ZydisMnemonicGetString(p.mnemonic);
        if (!reported_.insert(engine.name + names).second)
            return;
        ++reports_;
        std::string registers;
        for (unsigned i = 0; i < spec::kGprCount; ++i)
            registers += fmt::format(" {:#x}", small.inputs.gpr[i]);
        ADD_FAILURE() << fmt::format(
            "seed {}, case {}, engine {}:{}\n{}  in: flags {:#x}, mxcsr {:#x}, fcw "
            "{:#x}, rax rcx rdx rbx rsp rbp rsi rdi r8...{}\n  host vector {}, guest "
            "vector {}\n{}",
            options.seed, cases_, engine.name, names, disassemble(small), small.inputs.rflags,
            mxcsr(small.inputs), fcw(small.inputs), registers, host.vector, guest.vector, text);
    }

    static u32 mxcsr(const Inputs& in)
    {
        u32 value = 0;
        std::memcpy(&value, in.xsave.bytes + 24, 4);
        return value;
    }
    static u32 fcw(const Inputs& in)
    {
        u16 value = 0;
        std::memcpy(&value, in.xsave.bytes, 2);
        return value;
    }

    void print_coverage()
    {
        std::string isa;
        for (const auto& [name, n] : by_isa_)
            isa += fmt::format(" {} {},", name, n);
        std::string vectors;
        for (const auto& [vector, n] : vectors_)
            vectors += fmt::format(" {} {},", vector, n);
        std::string missing;
        for (const MnemonicForms& row : generator_.forms())
            if (!by_mnemonic_.contains(row.mnemonic))
                missing += fmt::format(" {}", ZydisMnemonicGetString(row.mnemonic));
        fmt::print("seed {}: {} instructions in {} runs; {} mnemonics ({} in the opcode maps)\n  by "
                   "instruction set:{}\n"
                   "  ended by vector:{}\n  not covered:{}\n",
                   options.seed, cases_, runs_, by_mnemonic_.size(), generator_.mnemonics(), isa, vectors,
                   missing);
        if (options.cases >= 50 * generator_.mnemonics() && reports_ == 0) {
            EXPECT_TRUE(missing.empty());
        }
    }

    HostRunner host_;
    Generator generator_;
    std::vector<Engine> engines_;
    Outcome expected_;
    Outcome outcome_;
    u64 cases_ = 0;
    u64 runs_ = 0;
    u64 reports_ = 0;
    std::set<std::string> reported_;
    std::map<std::string, u64> by_isa_;
    std::map<ZydisMnemonic, u64> by_mnemonic_;
    std::map<int, u64> vectors_;
};

TEST(RandomInstructions, DoWhatTheHostDoes)
{
    Differ differ;
    differ.run();
}

void parse(int argc, char** argv)
{
    const auto value = [&](const std::string& name, const char* variable) -> const char* {
        for (int i = 1; i + 1 < argc; ++i)
            if (argv[i] == "--" + name)
                return argv[i + 1];
        return std::getenv(variable);
    };
    if (const char* v = value("cases", "SEAMLESS_DIFF_CASES"))
        options.cases = std::strtoull(v, nullptr, 0);
    if (const char* v = value("seed", "SEAMLESS_DIFF_SEED"))
        options.seed = std::strtoull(v, nullptr, 0);
    if (const char* v = value("reports", "SEAMLESS_DIFF_REPORTS"))
        options.reports = std::strtoull(v, nullptr, 0);
    if (const char* v = value("engine", "SEAMLESS_DIFF_ENGINE"))
        options.engine = v;
}

} // namespace
} // namespace seamless::diff

int main(int argc, char** argv)
{
    testing::InitGoogleTest(&argc, argv);
    seamless::diff::parse(argc, argv);
    return RUN_ALL_TESTS();
}
