// SPDX-License-Identifier: Apache-2.0
// Reading a trace back, and what is counted in it.
#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <sstream>

#include "trace/summary.h"

namespace seamless::trace {
namespace {

// Reads all of `text`; the first message, or none.
std::string read(const std::string& text, Summary* summary = nullptr)
{
    std::istringstream stream(text);
    Reader reader(stream, "T");
    for (;;) {
        const auto line = reader.next();
        if (!line.ok())
            return line.error().text;
        if (line.value() == nullptr)
            return {};
        if (summary != nullptr)
            summary->add(*line.value());
    }
}

Summary summary_of(const std::string& text)
{
    Summary summary;
    EXPECT_EQ(read(text, &summary), "");
    summary.finish();
    return summary;
}

std::string line(u64 ts, const std::string& rest, u32 vcpu = 0)
{
    return "{\"ts\":" + std::to_string(ts) + ",\"vcpu\":" + std::to_string(vcpu) + ",\"ev\":" + rest + "}\n";
}

std::string td_write(u64 ts, const std::string& answer, u32 vcpu = 0)
{
    return line(
               ts,
               R"("ve_inject","exit_reason":"EPT_VIOLATION","gpa":"0x8000fe000010","cpu_rip":"0x1000","cpu_insn":"8906")",
               vcpu) +
           line(ts + 1, R"("kvm_exit","reason":"EPT_MISCONFIG","vm":"td")", vcpu) +
           line(ts + 2, R"("kvm_tdx_vmcall","leaf":"MMIO")", vcpu) + answer +
           line(ts + 10, R"("kvm_tdx_vmcall_done","r10":"0x0")", vcpu) +
           line(ts + 11, R"("kvm_entry")", vcpu);
}
const std::string kMmio = line(4, R"("kvm_mmio","type":"write","len":4,"gpa":"0xfe000010","val":"0x1")");
const std::string kUser = line(5, R"("kvm_userspace_exit","reason":"KVM_EXIT_MMIO")");

TEST(TraceReader, RefusesWhatIsNoTrace)
{
    EXPECT_EQ(read(""), "");
    EXPECT_EQ(read(line(1, R"("kvm_entry")")), "");
    EXPECT_EQ(read(line(1, R"("an_event_of_the_future","x":[1])")),
              "T: line 1: this is not one flat JSON object");
    EXPECT_EQ(read(line(1, R"("an_event_of_the_future","x":1)")), "");
    EXPECT_EQ(read("\n"), "T: line 1: this is not one flat JSON object");
    EXPECT_EQ(read("[]\n"), "T: line 1: this is not one flat JSON object");
    EXPECT_EQ(read("{} {}\n"), "T: line 1: this is not one flat JSON object");
    EXPECT_EQ(read("{}\n"), "T: line 1: ts, vcpu or ev is missing");
    EXPECT_EQ(read(R"({"ts":-1,"vcpu":0,"ev":"kvm_entry"})"
                   "\n"),
              "T: line 1: ts, vcpu or ev is missing");
    EXPECT_EQ(read(R"({"ts":1,"vcpu":4294967296,"ev":"kvm_entry"})"
                   "\n"),
              "T: line 1: ts, vcpu or ev is missing");
    EXPECT_EQ(read("\"ts\"\n"), "T: line 1: this is not one flat JSON object");
}

TEST(TraceReader, SaysWhereAFileIsCutOff)
{
    const std::string whole = line(1, R"("kvm_entry")") + line(2, R"("kvm_entry")");
    EXPECT_EQ(read(whole.substr(0, whole.size() - 3)), "T: line 2: the line is cut off");
    EXPECT_EQ(read(whole.substr(0, whole.size() - 1)), "T: line 2: the line is cut off");
}

TEST(TraceReader, RefusesEndlessLines)
{
    EXPECT_EQ(read(line(1, "\"" + std::string(5000, 'x') + "\"")),
              "T: line 1: the line is too long for a trace event");
    std::string fields = "\"kvm_entry\"";
    for (unsigned i = 0; i < 40; ++i)
        fields += ",\"a\":1";
    EXPECT_EQ(read(line(1, fields)), "T: line 1: this is not one flat JSON object");
}

TEST(TraceSummary, UserSpaceAnswersATd)
{
    const Summary s = summary_of(td_write(100, kMmio + kUser) + td_write(200, kMmio + kUser));
    ASSERT_EQ(s.accesses.size(), 1u);
    const auto& [key, tally] = *s.accesses.begin();
    EXPECT_EQ(key, (AccessKey{0xfe000000, 0x1000, "8906", 4, true, Answer::user_space}));
    EXPECT_EQ(tally.count, 2u);
    EXPECT_EQ(tally.ns, 20u);
    ASSERT_EQ(s.ves.size(), 1u);
    EXPECT_EQ(s.ves.begin()->first, (VeKey{"EPT_VIOLATION", 0x1000, "8906", "MMIO"}));
    EXPECT_EQ(s.ves.begin()->second.count, 2u);
}

TEST(TraceSummary, BusesAnswerWithoutUserSpace)
{
    EXPECT_EQ(summary_of(td_write(1, kMmio)).accesses.begin()->first.answer, Answer::kernel_bus);
    const auto fast = summary_of(td_write(1, line(3, R"("kvm_fast_mmio","gpa":"0xfe000010")"))).accesses;
    EXPECT_EQ(fast.begin()->first.answer, Answer::fast_bus);
    EXPECT_TRUE(fast.begin()->first.write);
}

TEST(TraceSummary, AReadThatUserSpaceAnswersCountsOnce)
{
    const Summary s =
        summary_of(line(10, R"("kvm_exit","reason":"EPT_MISCONFIG","vm":"plain")") +
                   line(11, R"("kvm_emulate_insn","rip":"0x2000","insn":"8b06","failed":0)") +
                   line(12, R"("kvm_mmio","type":"unsatisfied-read","len":4,"gpa":"0xfeb00ff0")") +
                   line(13, R"("kvm_userspace_exit","reason":"KVM_EXIT_MMIO")") +
                   line(14, R"("kvm_mmio","type":"read","len":4,"gpa":"0xfeb00ff0","val":"0x1")") +
                   line(20, R"("kvm_entry")"));
    ASSERT_EQ(s.accesses.size(), 1u);
    EXPECT_EQ(s.accesses.begin()->first,
              (AccessKey{0xfeb00000, 0x2000, "8b06", 4, false, Answer::user_space}));
    EXPECT_EQ(s.accesses.begin()->second.ns, 10u);
    EXPECT_TRUE(s.ves.empty());
}

TEST(TraceSummary, AnExitBetweenAVeAndItsCallEndsNothing)
{
    const std::string interrupted =
        line(1, R"("ve_inject","exit_reason":"EPT_VIOLATION","cpu_rip":"0x1000","cpu_insn":"8906")") +
        line(2, R"("kvm_exit","reason":"EXTERNAL_INTERRUPT","vm":"td")") + line(3, R"("kvm_entry")") +
        line(4, R"("kvm_tdx_vmcall","leaf":"MMIO")") + kMmio + line(31, R"("kvm_tdx_vmcall_done")");
    const Summary s = summary_of(interrupted);
    EXPECT_EQ(s.accesses.begin()->first.rip, 0x1000u);
    EXPECT_EQ(s.accesses.begin()->second.ns, 30u);
}

TEST(TraceSummary, VcpusDoNotMix)
{
    const std::string a = td_write(1, kMmio, 0), b = td_write(1, "", 1);
    std::string mixed;
    std::istringstream first(a), second(b);
    for (std::string l; std::getline(first, l);) {
        mixed += l + "\n";
        if (std::getline(second, l))
            mixed += l + "\n";
    }
    const Summary s = summary_of(mixed);
    EXPECT_EQ(s.vcpus(), 2u);
    EXPECT_EQ(s.accesses.size(), 1u);
    EXPECT_EQ(s.accesses.begin()->second.count, 1u);
    EXPECT_EQ(s.ves.begin()->second.count, 2u);
}

// The events a filter took away must not become times that never were.
TEST(TraceSummary, WithoutBothEndsThereIsNoTime)
{
    const std::string far = td_write(1'000'000, kMmio);
    const auto without = [](const std::string& trace, std::initializer_list<const char*> events) {
        std::istringstream in(trace);
        std::string kept;
        for (std::string l; std::getline(in, l);)
            if (std::none_of(events.begin(), events.end(),
                             [&](const char* e) { return l.find("\"" + std::string(e) + "\"") != l.npos; }))
                kept += l + "\n";
        return summary_of(kept);
    };
    const auto no_start = without(far, {"ve_inject", "kvm_exit"}).accesses.begin()->second;
    EXPECT_EQ((std::array{no_start.count, no_start.timed, no_start.ns}), (std::array<u64, 3>{1, 0, 0}));
    const Summary no_end = without(far + far, {"kvm_entry", "kvm_tdx_vmcall_done"});
    EXPECT_EQ(no_end.accesses.begin()->second.count, 2u);
    EXPECT_EQ(no_end.accesses.begin()->second.timed, 0u);
    const Summary no_ve = without(far, {"ve_inject"});
    EXPECT_EQ(no_ve.accesses.begin()->second.ns, 9u) << "from the exit, where the #VE is not in the trace";
    const Summary no_call = without(far, {"kvm_tdx_vmcall"});
    EXPECT_EQ(no_call.accesses.begin()->second.ns, 10u);
}

TEST(TraceSummary, AccessesWithNothingAroundThemCountEach)
{
    const std::string read = line(1, R"("kvm_mmio","type":"unsatisfied-read","len":4,"gpa":"0xfe000010")") +
                             line(2, R"("kvm_mmio","type":"read","len":4,"gpa":"0xfe000010","val":"0x1")");
    const Summary s = summary_of(kMmio + kMmio + read + read);
    u64 count = 0;
    for (const auto& [key, tally] : s.accesses)
        count += tally.count;
    EXPECT_EQ(count, 4u);
}

TEST(TraceSummary, APlainVmsAccessWithoutItsEntryIsNotLost)
{
    const std::string access = line(10, R"("kvm_exit","reason":"EPT_MISCONFIG","vm":"plain")") + kMmio;
    const Summary s = summary_of(access + access);
    EXPECT_EQ(s.accesses.begin()->second.count, 2u);
    EXPECT_EQ(s.accesses.begin()->second.timed, 0u);
}

TEST(TraceSummary, FilteredTracesStillCount)
{
    EXPECT_EQ(summary_of(kMmio + kUser + line(9, R"("kvm_entry")")).accesses.begin()->first.rip, 0u);
    EXPECT_EQ(summary_of(line(1, R"("ve_inject","exit_reason":"CPUID")") +
                         line(5, R"("ve_inject","exit_reason":"CPUID")"))
                  .ves.begin()
                  ->second.count,
              2u);
}

} // namespace
} // namespace seamless::trace
