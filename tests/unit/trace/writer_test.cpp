// SPDX-License-Identifier: Apache-2.0
// The writers of traces: text, JSON lines, Chrome's events, and which file name chooses which.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "trace/jsonl.h"
#include "trace/text.h"
#include "trace/writer.h"

namespace seamless::trace {
namespace {

using nlohmann::json;

Record make(Event event, std::initializer_list<Value> values, u64 ts = 1'500'000'042, u32 vcpu = 1)
{
    Record r;
    r.ts = ts;
    r.vcpu = vcpu;
    r.event = event;
    r.count = static_cast<u8>(values.size());
    std::copy(values.begin(), values.end(), r.values.begin());
    return r;
}
Record mmio() { return make(Event::kvm_mmio, {"write", 4, 0xfe000010u, 0x11}); }
Record ve()
{
    constexpr u8 insn[] = {0x8b, 0x06};
    return make(Event::ve_inject, {"EPT_VIOLATION", 1, Absent{}, 0x800000000010u, 0x1000, Bytes(insn), 2});
}
Record entry(u64 ts) { return make(Event::kvm_entry, {0x1000}, ts, 0); }
Record exit(u64 ts)
{
    return make(Event::kvm_exit, {"EPT_MISCONFIG", "TDCALL", Absent{}, Absent{}, "td"}, ts, 0);
}

class Folder {
  public:
    Folder() : path_(mkdtemp(name_)) {}
    ~Folder()
    {
        for (const std::string& file : files_)
            std::remove(file.c_str());
        rmdir(path_.c_str());
    }
    std::string file(const std::string& name)
    {
        files_.push_back(path_ + "/" + name);
        return files_.back();
    }

  private:
    char name_[32] = "trace_testXXXXXX";
    std::string path_;
    std::vector<std::string> files_;
};

std::string content(const std::string& path)
{
    std::ifstream stream(path);
    return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(TextTrace, IsOneAlignedLineAnEvent)
{
    EXPECT_EQ(to_text(mmio()),
              "    1.500000042 vcpu 1  kvm_mmio               type=write len=4 gpa=0xfe000010 val=0x11");
    EXPECT_EQ(to_text(ve()),
              "    1.500000042 vcpu 1  ve_inject              exit_reason=EPT_VIOLATION "
              "qualification=0x1 gpa=0x800000000010 cpu_rip=0x1000 cpu_insn=8b06 cpu_insn_len=2");
}

TEST(TextTrace, LeavesNoSpaceBehindAnEventWithoutFields)
{
    EXPECT_EQ(to_text(make(Event::kvm_entry, {Absent{}})), "    1.500000042 vcpu 1  kvm_entry");
}

TEST(JsonLines, HaveHexStringsAndBareCounts)
{
    EXPECT_EQ(to_json(mmio()), R"({"ts":1500000042,"vcpu":1,"ev":"kvm_mmio","type":"write","len":4,)"
                               R"("gpa":"0xfe000010","val":"0x11"})");
}

TEST(Writer, TheNameChoosesTheFormat)
{
    Folder folder;
    const std::string lines = folder.file("a.jsonl"), chrome = folder.file("a.json"),
                      text = folder.file("a.txt"), bare = folder.file("a");
    for (const std::string& path : {lines, chrome, text, bare})
        open_writer(path).value()->write(mmio());
    EXPECT_EQ(content(lines), to_json(mmio()) + "\n");
    EXPECT_EQ(content(text), to_text(mmio()) + "\n");
    EXPECT_EQ(content(bare), content(text));
    EXPECT_TRUE(json::parse(content(chrome)).is_array());
}

TEST(Writer, SaysWhyAFileCannotBeOpened)
{
    for (const char* path : {"/nonexistent/a.jsonl", "/nonexistent/a.json", "/nonexistent/a"})
        EXPECT_EQ(open_writer(path).error().value, ENOENT);
}

TEST(ChromeTrace, SlicesOfAVcpuBeginAndEnd)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    {
        const auto sink = open_writer(path).value();
        sink->write(entry(1000));
        sink->write(exit(3500));
        sink->write(entry(4000));
    }
    const json events = json::parse(content(path));
    std::string phases;
    for (const json& e : events)
        phases += e["ph"].get<std::string>();
    EXPECT_EQ(phases, "MMMBEBEBE");
    EXPECT_EQ(events[5]["name"], "EPT_MISCONFIG");
    EXPECT_EQ(events[5]["args"]["hw_reason"], "TDCALL");
    EXPECT_DOUBLE_EQ(events[5]["ts"], 3.5);
    EXPECT_EQ(events[1]["tid"], 0);
}

TEST(ChromeTrace, AVeIsASpanWithArrowsToItsAnswer)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    {
        const auto sink = open_writer(path).value();
        sink->write(make(Event::ve_inject, {"EPT_VIOLATION"}, 1000));
        sink->write(make(Event::kvm_tdx_vmcall, {"MMIO"}, 2000));
        sink->write(make(Event::kvm_tdx_vmcall_done, {0}, 4500));
        sink->write(make(Event::kvm_tdx_vmcall_done, {0}, 5000)); // of no #VE
        sink->write(make(Event::ve_inject, {"CPUID"}, 6000));     // without an answer
    }
    std::string phases;
    for (const json& e : json::parse(content(path))) {
        phases += e["ph"].get<std::string>();
        if (e["ph"] == "e" && e["id"] == 1) {
            EXPECT_DOUBLE_EQ(e["ts"], 4.5);
            EXPECT_EQ(e["name"], "#VE EPT_VIOLATION");
        }
    }
    EXPECT_EQ(phases, "MMMibsitifeiibse");
}

TEST(ChromeTrace, TheVmmsTimeLiesInsideThatAfterAnExit)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    {
        const auto sink = open_writer(path).value();
        sink->write(exit(1000));
        sink->write(make(Event::kvm_userspace_exit, {"KVM_EXIT_MMIO"}, 2000, 0));
        sink->write(make(Event::kvm_mmio, {"read", 4, 0xfe000010u, 0x11}, 3000, 0));
        sink->write(entry(4000));
    }
    const json events = json::parse(content(path));
    std::string phases;
    for (const json& e : events)
        phases += e["ph"].get<std::string>();
    EXPECT_EQ(phases, "MMMBBEiEBE");
    EXPECT_EQ(events[4]["name"], "KVM_EXIT_MMIO");
    EXPECT_DOUBLE_EQ(events[5]["ts"], 3.0);
}

TEST(ChromeTrace, NamesOfAForeignTraceAreQuoted)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    open_writer(path).value()->write(make(Event::kvm_exit, {"a\"},\n\\"}));
    EXPECT_EQ(json::parse(content(path))[3]["name"], "a\"},\n\\");
}

TEST(ChromeTrace, InstantsHaveTheFieldsAsArguments)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    open_writer(path).value()->write(ve());
    const json event = json::parse(content(path))[3];
    EXPECT_EQ(event["ph"], "i");
    EXPECT_EQ(event["args"]["cpu_insn"], "8b06");
    EXPECT_EQ(event["args"]["cpu_insn_len"], 2);
    EXPECT_FALSE(event["args"].contains("gla"));
}

TEST(ChromeTrace, IsValidJsonAtAnyTime)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    const auto sink = open_writer(path).value();
    std::size_t seen = 0;
    for (unsigned i = 0; i < 2000; ++i) {
        sink->write(mmio());
        if (i % 400 != 399)
            continue;
        const std::string now = content(path);
        if (now.empty()) // nothing has reached the file yet
            continue;
        const json events = json::parse(now, nullptr, false);
        ASSERT_TRUE(events.is_array());
        EXPECT_GE(events.size(), seen);
        seen = events.size();
    }
    EXPECT_GT(seen, 300u);
}

TEST(ChromeTrace, WithoutEventsIsAnEmptyArray)
{
    Folder folder;
    const std::string path = folder.file("a.json");
    open_writer(path).value().reset();
    EXPECT_EQ(json::parse(content(path)), json::array());
}

} // namespace
} // namespace seamless::trace
