// SPDX-License-Identifier: Apache-2.0
// The page of a trace: what is packed into it can be read back, and nothing of a trace becomes markup.
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "trace/page.h"

namespace seamless::trace {
namespace {

using nlohmann::json;

class NoNames : public CodeNames {
  public:
    [[nodiscard]] std::string disassembled(std::string_view, u64) const override { return "mov </script>"; }
    [[nodiscard]] std::string symbol(u64) const override { return "f\"\\\x01"; }
};

std::string page_of(const std::string& trace, const std::string& title = "T")
{
    std::istringstream in(trace);
    std::ostringstream out;
    Reader reader(in, "T");
    const NoNames names;
    Page page(out, title, names);
    for (;;) {
        const auto line = reader.next();
        EXPECT_TRUE(line.ok());
        if (!line.ok() || line.value() == nullptr)
            break;
        page.add(*line.value());
    }
    page.finish();
    return out.str();
}

std::string from_base64(std::string_view text)
{
    std::string bytes;
    unsigned bits = 0, have = 0;
    for (const char c : text) {
        static constexpr std::string_view digits =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        if (c == '=')
            break;
        bits = bits << 6 | static_cast<unsigned>(digits.find(c));
        have += 6;
        if (have >= 8)
            bytes += static_cast<char>(bits >> (have -= 8) & 0xff);
    }
    return bytes;
}

// The data blocks of one class, decoded and joined.
std::string blocks(const std::string& page, const std::string& name)
{
    const std::string begin = "<script type=\"application/base64\" class=\"" + name + "\">";
    std::string bytes;
    for (std::size_t at = page.find(begin); at != std::string::npos; at = page.find(begin, at)) {
        at += begin.size();
        bytes += from_base64(std::string_view(page).substr(at, page.find('<', at) - at));
    }
    return bytes;
}

json tables(const std::string& page) { return json::parse(blocks(page, "tables")); }

const std::string kFirst =
    R"({"ts":100,"vcpu":7,"ev":"ept_violation","gpa":"0x8000fe000010","access":"w","root":"shared","suppress_ve":1,"outcome":"exit"}
{"ts":110,"vcpu":7,"ev":"kvm_exit","reason":"EPT_VIOLATION","hw_reason":"EPT_VIOLATION","vm":"td"}
{"ts":120,"vcpu":7,"ev":"mark_mmio_spte","gfn":"0xfe000","spte":"0x10","access":"0x0","gen":"0x2"}
{"ts":130,"vcpu":7,"ev":"kvm_entry"}
{"ts":140,"vcpu":7,"ev":"ept_violation","gpa":"0x8000fe000010","access":"w","root":"shared","suppress_ve":0,"outcome":"ve"}
{"ts":150,"vcpu":7,"ev":"ve_inject","exit_reason":"EPT_VIOLATION","gpa":"0x8000fe000010","cpu_rip":"0x1000","cpu_insn":"8906"}
{"ts":160,"vcpu":7,"ev":"kvm_exit","reason":"EPT_MISCONFIG","hw_reason":"TDCALL","vm":"td"}
{"ts":170,"vcpu":7,"ev":"kvm_tdx_vmcall","leaf":"MMIO","r12":"0x4"}
{"ts":180,"vcpu":7,"ev":"kvm_mmio","type":"write","len":4,"gpa":"0xfe000010","val":"0xffffffffffffffff"}
{"ts":190,"vcpu":7,"ev":"kvm_userspace_exit","reason":"KVM_EXIT_MMIO"}
{"ts":200,"vcpu":7,"ev":"kvm_tdx_vmcall_done","r10":"0x0","r11":"0x0"}
{"ts":210,"vcpu":7,"ev":"kvm_entry"}
)";

TEST(TracePage, HoldsTheTablesOfTheTrace)
{
    const json t = tables(page_of(kFirst));
    EXPECT_EQ(t["events"], 12);
    EXPECT_EQ(t["vcpus"], json::array({7}));
    EXPECT_EQ(t["first"], 100);
    EXPECT_EQ(t["last"], 210);
    ASSERT_EQ(t["kinds"].size(), 1u);
    EXPECT_EQ(t["kinds"][0],
              json::parse(R"([0,1,1,"0xfe000000","0x1000","8906","mov </script>","f\"\\\u0001",4,1,)"
                          R"("user space","EPT_VIOLATION","MMIO",1,1,50,50])"));
    EXPECT_EQ(t["exits"], json::parse(R"([["EPT_MISCONFIG","TDCALL","td",1,1,50,50],)"
                                      R"(["EPT_VIOLATION","EPT_VIOLATION","td",1,1,20,20]])"));
    EXPECT_EQ(t["vmcalls"], json::parse(R"([["MMIO",1,1,30,30]])"));
    EXPECT_EQ(t["guest"], json::array({1, 1, 30, 30}));
}

TEST(TracePage, TheFirstAccessBeginsAtTheViolationThatExits)
{
    // vCPU 0 (the only one), from event 0, ten more events, kind 0, first, 50 ns + 1.
    EXPECT_EQ(blocks(page_of(kFirst), "episodes"), std::string("\x00\x00\x0a\x00\x01\x33", 6));
}

TEST(TracePage, EventsArePacked)
{
    const std::string bytes = blocks(page_of(R"({"ts":1,"vcpu":0,"ev":"kvm_fast_mmio","gpa":"0x81"})"
                                             "\n"
                                             R"({"ts":0,"vcpu":5,"ev":"of_the_future","gpa":"0x81"})"
                                             "\n"),
                                     "events");
    const char expected[] = {
        static_cast<char>(Event::kvm_fast_mmio), 0, 2, 3, 1, '\x81', 1, '\xff', 1, 1, 1, 0};
    EXPECT_EQ(bytes, std::string(expected, sizeof expected));
}

TEST(TracePage, NothingOfATraceBecomesMarkup)
{
    const std::string evil = "</script><script>alert(1)</script><!--";
    const std::string clean = page_of(R"({"ts":1,"vcpu":0,"ev":"kvm_userspace_exit","reason":"x"})"
                                      "\n");
    const std::string page = page_of(R"({"ts":1,"vcpu":0,"ev":"kvm_userspace_exit","reason":")" + evil +
                                         "\"}\n" + R"({"ts":2,"vcpu":0,"ev":")" + evil + "\"}\n" +
                                         R"({"ts":3,"vcpu":0,"ev":"ve_inject","exit_reason":"\u0000)" + evil +
                                         "\",\"cpu_insn\":\"" + evil + "\"}\n",
                                     evil);
    EXPECT_EQ(page.find("alert(1)"), std::string::npos);
    const auto count = [](const std::string& text, const std::string& what) {
        std::size_t n = 0;
        for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
            ++n;
        return n;
    };
    EXPECT_EQ(count(page, "<script"), count(clean, "<script") + 1); // a block of episodes
    EXPECT_EQ(count(page, "</script>"), count(clean, "</script>") + 1);
    EXPECT_EQ(tables(page)["title"], evil);
}

TEST(TracePage, ManyEventsTakeSeveralBlocks)
{
    std::string trace;
    for (unsigned i = 0; i < 60'000; ++i)
        trace +=
            "{\"ts\":" + std::to_string(i) + R"(,"vcpu":0,"ev":"kvm_fast_mmio","gpa":"0xfe000000"})" + "\n";
    const std::string page = page_of(trace);
    EXPECT_EQ(blocks(page, "events").size(), 60'000u * 10);
    EXPECT_EQ(tables(page)["episodes"], 60'000);
}

TEST(TracePage, NeedsNoNetwork)
{
    const std::string page = page_of(kFirst);
    for (const char* what : {"src=", "href=", "url(", "import(", "fetch(", "XMLHttpRequest", "WebSocket"})
        EXPECT_EQ(page.find(what), std::string::npos) << what;
    EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

} // namespace
} // namespace seamless::trace
