// SPDX-License-Identifier: Apache-2.0
// Random programs of many blocks, run in step mode and by the translator with all and with fewer
// optimizations; every difference is a bug. random_programs [--instructions N] [--cases N] [--seed S]
// [--first CASE] [--engines rotate|all] [--show 1]; SEAMLESS_PROGRAMS_INSTRUCTIONS, _CASES, _SEED, ... say
// the same.
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <thread>

#include "decode/instruction.h"
#include "diff/program_report.h"
#include "diff/program_runner.h"

namespace seamless::diff {
namespace {

struct Options {
    u64 instructions = 500'000; // in step mode: what the programs are long, together
    u64 cases = ~u64{0};
    u64 seed = 1;
    u64 first = 0;
    u64 reports = 5;
    bool all = false; // each program with each engine, rather than with full and one of the others
    bool show = false;
} options;

struct Variant {
    const char* name;
    bool cpu::Optimizations::*without;
};
// As platform/engine.cpp calls them.
constexpr Variant kVariants[] = {
    {"full", nullptr},
    {"full,no-inline-tlb", &cpu::Optimizations::inline_tlb},
    {"full,no-inline-flags-live", &cpu::Optimizations::inline_flags_live},
    {"full,no-dead-flags", &cpu::Optimizations::dead_flags},
    {"full,no-links", &cpu::Optimizations::links},
    {"full,no-far-links", &cpu::Optimizations::far_links},
    {"full,no-calls", &cpu::Optimizations::calls},
    {"full,no-inline-system", &cpu::Optimizations::inline_system},
    {"full,no-jump-cache", &cpu::Optimizations::jump_cache},
    {"full,no-returns", &cpu::Optimizations::returns},
    {"full,no-stretches", &cpu::Optimizations::stretches},
    {"full,no-translation-cache", &cpu::Optimizations::translation_cache},
};

std::unique_ptr<ProgramRunner> make_runner(const Variant& v, bool dead_flags = true)
{
    cpu::Optimizations optimizations;
    optimizations.dead_flags = dead_flags;
    if (v.without)
        optimizations.*v.without = false;
    return std::make_unique<ProgramRunner>(cpu::EngineMode::full, optimizations);
}

std::unique_ptr<ProgramRunner> make_stepper()
{
    return std::make_unique<ProgramRunner>(cpu::EngineMode::step, cpu::Optimizations{});
}

// Interrupts whatever runs, every few milliseconds: at points that no program chose, and so that a program
// that does not end can be given up. One that hangs the engine ends the test.
class Watch {
  public:
    static constexpr std::chrono::microseconds kTurn{3000};

    Watch() : thread_([this] { loop(); }) {}
    ~Watch()
    {
        stop_ = true;
        thread_.join();
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    void set_turn(std::chrono::microseconds turn) { turn_ = turn; }

    void run(ProgramRunner& runner, const Program& program, u64 index, const char* engine,
             ProgramOutcome& out)
    {
        {
            const std::lock_guard lock(mutex_);
            runner_ = &runner;
            what_ = fmt::format("seed {}, case {}, engine {}", options.seed, index, engine);
            since_ = Time::now();
        }
        runner.run(program, out);
        const std::lock_guard lock(mutex_);
        runner_ = nullptr;
    }

  private:
    using Time = std::chrono::steady_clock;
    static constexpr auto kHang = std::chrono::seconds(120);

    void loop()
    {
        while (!stop_) {
            std::this_thread::sleep_for(turn_.load());
            const std::lock_guard lock(mutex_);
            if (!runner_)
                continue;
            runner_->interrupt();
            if (Time::now() - since_ > kHang) {
                fmt::print(stderr, "{}: hangs\n", what_);
                std::abort();
            }
        }
    }

    std::mutex mutex_;
    ProgramRunner* runner_ = nullptr;
    std::string what_;
    Time::time_point since_;
    std::atomic<bool> stop_ = false;
    std::atomic<std::chrono::microseconds> turn_ = kTurn;
    std::thread thread_;
};

class Differ {
  public:
    Differ()
    {
        for (const Variant& v : kVariants)
            runners_.push_back(make_runner(v));
    }

    void run()
    {
        for (u64 i = options.first; i - options.first < options.cases &&
                                    instructions_ < options.instructions && reports_ < options.reports;
             ++i) {
            const Program program = make_program(options.seed, i);
            if (options.show)
                fmt::print("{}", describe(program));
            check(program, i);
            ++programs_;
        }
        print();
    }

  private:
    void check(const Program& program, u64 index)
    {
        watch_.run(*stepper_, program, index, "step", expected_);
        count(expected_);
        if (expected_.end == ProgramEnd::long_run) // where it ended was chance
            return;
        for (std::size_t v = 0; v < runners_.size(); ++v) {
            if (!options.all && v != 0 && v != 1 + index % (runners_.size() - 1))
                continue;
            watch_.run(*runners_[v], program, index, kVariants[v].name, outcome_);
            interrupts_ += outcome_.interrupts;
            const std::string text = difference(expected_, outcome_);
            if (text.empty())
                continue;
            if (is_explained(program, index, kVariants[v], text))
                return;
            report(program, index, kVariants[v], text);
        }
    }

    void count(const ProgramOutcome& o)
    {
        instructions_ += o.instructions;
        ++ends_[o.end];
        for (const ProgramEvent& e : o.events)
            ++vectors_[e.vector];
    }

    // Two kinds of difference are no bug, and both need code that is not what the generator wrote any more.
    // They are printed all the same, and must be rare.
    bool is_explained(const Program& program, u64 index, const Variant& v, const std::string& text)
    {
        if (!expected_.changes_code(program))
            return false;
        const char* why = nullptr;
        if (is_about_dead_flags(program, index, v))
            why = "dead flags";
        else if (is_chance(program, index))
            why = "chance";
        else
            return false;
        ++explained_;
        fmt::print("seed {}, case {}, engine {}: by {}\n{}", options.seed, index, v.name, why, text);
        return true;
    }

    // DEVIATION (translate/address.cpp): a store over what follows in its own block leaves that the flags
    // which the old code would have overwritten. It does so on a new processor too, and not where all flags
    // are kept.
    bool is_about_dead_flags(const Program& program, u64 index, const Variant& v)
    {
        if (again(program, index, v).empty())
            return false;
        const auto runner = make_runner(v, false);
        watch_.run(*runner, program, index, v.name, outcome_);
        return difference(expected_, outcome_).empty();
    }

    // Wild code may change a page-table entry and forget INVLPG: then it is for the interrupts to say when
    // that shows, and one engine differs from itself.
    bool is_chance(const Program& program, u64 index)
    {
        constexpr int kRounds = 300;
        watch_.set_turn(std::chrono::microseconds(50));
        bool differs = false;
        for (int i = 0; i < kRounds && !differs; ++i) {
            watch_.run(*stepper_, program, index, "step", outcome_);
            differs = !difference(expected_, outcome_).empty();
        }
        watch_.set_turn(Watch::kTurn);
        return differs;
    }

    // The difference that new processors find; empty if they find none.
    std::string again(const Program& program, u64 index, const Variant& v)
    {
        const auto stepper = make_stepper(), runner = make_runner(v);
        ProgramOutcome expected, outcome;
        watch_.run(*stepper, program, index, "step", expected);
        if (expected.end == ProgramEnd::long_run)
            return {};
        watch_.run(*runner, program, index, v.name, outcome);
        return difference(expected, outcome);
    }

    Program shrink(Program small, u64 index, const Variant& v)
    {
        for (std::size_t i = small.pieces.size(); i-- > 0;) {
            if (!small.pieces[i].removable)
                continue;
            Program next = small;
            next.remove(i);
            if (!again(next, index, v).empty())
                small = std::move(next);
        }
        return small;
    }

    void report(const Program& program, u64 index, const Variant& v, const std::string& first)
    {
        ++reports_;
        std::string text = again(program, index, v);
        if (text.empty()) {
            ADD_FAILURE() << fmt::format("seed {}, case {}, engine {}: not on a new processor\n{}{}",
                                         options.seed, index, v.name, first, describe(program));
            return;
        }
        const Program small = shrink(program, index, v);
        text = again(small, index, v);
        ADD_FAILURE() << fmt::format("seed {}, case {}, engine {}\n{}{}", options.seed, index, v.name, text,
                                     describe(small));
    }

    void print() const
    {
        std::string vectors, ends;
        for (const auto& [vector, n] : vectors_)
            vectors += fmt::format(" {} {},", vector, n);
        for (const auto& [end, n] : ends_)
            ends += fmt::format(" {} {},", static_cast<int>(end), n);
        fmt::print("seed {}: {} programs, {} instructions, {} interrupts, {} differences explained\n"
                   "  events by vector:{}\n  ends:{}\n",
                   options.seed, programs_, instructions_, interrupts_, explained_, vectors, ends);
        EXPECT_LE(explained_, 1 + instructions_ / 20'000'000) << "more than wild code explains";
    }

    Watch watch_;
    std::unique_ptr<ProgramRunner> stepper_ = make_stepper();
    std::vector<std::unique_ptr<ProgramRunner>> runners_;
    ProgramOutcome expected_, outcome_;
    u64 programs_ = 0, instructions_ = 0, interrupts_ = 0, reports_ = 0, explained_ = 0;
    std::map<int, u64> vectors_;
    std::map<ProgramEnd, u64> ends_;
};

TEST(RandomPrograms, DoTheSameInEveryEngine)
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
    const auto number = [&](const char* name, const char* variable, u64& to) {
        if (const char* v = value(name, variable))
            to = std::strtoull(v, nullptr, 0);
    };
    number("instructions", "SEAMLESS_PROGRAMS_INSTRUCTIONS", options.instructions);
    number("cases", "SEAMLESS_PROGRAMS_CASES", options.cases);
    number("seed", "SEAMLESS_PROGRAMS_SEED", options.seed);
    number("first", "SEAMLESS_PROGRAMS_FIRST", options.first);
    number("reports", "SEAMLESS_PROGRAMS_REPORTS", options.reports);
    if (const char* v = value("engines", "SEAMLESS_PROGRAMS_ENGINES"))
        options.all = std::string_view(v) == "all";
    options.show = value("show", "SEAMLESS_PROGRAMS_SHOW") != nullptr;
}

} // namespace
} // namespace seamless::diff

int main(int argc, char** argv)
{
    testing::InitGoogleTest(&argc, argv);
    seamless::diff::parse(argc, argv);
    return RUN_ALL_TESTS();
}
