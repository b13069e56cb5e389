// SPDX-License-Identifier: Apache-2.0
// The gdb server as a debugger meets it, packet by packet, with scripted guests.
#include "gdb/session.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "fakes/scripted_guests.h"

namespace seamless::gdb {
namespace {

using fakes::ScriptedGuests;
using testing::HasSubstr;
using testing::StartsWith;
using trace::StopReason;

struct Recorder : Host {
    std::string sent;
    bool ended = false;
    void send(std::string_view bytes) override { sent += bytes; }
    void end_run() override { ended = true; }
};

class SessionTest : public testing::Test {
  protected:
    // What came back: the data of all packets, one a line.
    std::string take()
    {
        PacketReader reader;
        reader.feed({reinterpret_cast<const u8*>(host.sent.data()), host.sent.size()});
        host.sent.clear();
        std::string out;
        while (const auto in = reader.next())
            if (in->kind == Incoming::Kind::packet)
                out += (out.empty() ? "" : "\n") + in->data;
        return out;
    }
    void raw(std::string_view bytes)
    {
        session->receive({reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
    }
    std::string ask(std::string_view data)
    {
        raw(framed(data));
        return take();
    }
    std::string monitor(std::string_view line)
    {
        std::string answer = ask("qRcmd," + to_hex(line)), text;
        while (answer.starts_with("O") && !answer.starts_with("OK")) {
            const std::size_t end = answer.find('\n');
            text += *from_hex(answer.substr(1, end - 1));
            answer.erase(0, end + 1);
        }
        EXPECT_EQ(answer, "OK");
        return text;
    }
    std::size_t number_of(std::string_view name)
    {
        const auto table = register_table(guests.components());
        return static_cast<std::size_t>(std::ranges::find(table, name, &Register::name) - table.begin());
    }

    ScriptedGuests guests;
    Recorder host;
    std::unique_ptr<Session> session = std::make_unique<Session>(guests, host);
};

TEST_F(SessionTest, AttachingStopsTheGuestsAndLeavingLetsThemGoWithoutBreakpoints)
{
    EXPECT_FALSE(guests.running);
    EXPECT_EQ(ask("?"), "T05thread:1;");
    EXPECT_EQ(ask("Z0,1000,1"), "OK");
    EXPECT_EQ(ask("vCont;s:1;c"), "");
    EXPECT_THAT(guests.breakpoints, testing::ElementsAre(0x1000));
    session.reset();
    EXPECT_TRUE(guests.breakpoints.empty());
    EXPECT_TRUE(guests.running);
    EXPECT_EQ(guests.resumed.back().size(), 2u);
}

TEST_F(SessionTest, TheFirstStopWaitsForTheFirstVcpu)
{
    guests.list.clear();
    EXPECT_EQ(ask("?"), "");
    guests.list[3];
    session->guests_changed();
    EXPECT_EQ(take(), "T05thread:4;");
    EXPECT_EQ(ask("qC"), "QC4");
}

TEST_F(SessionTest, DamagedPacketsAreAskedForAgainAndUnknownOnesAnsweredEmpty)
{
    raw("$?#00");
    EXPECT_EQ(host.sent, "-");
    host.sent.clear();
    EXPECT_EQ(ask("qTStatus"), "");
    raw("$qTStatus#49");
    EXPECT_EQ(host.sent, "+$#00");
    host.sent.clear();
    EXPECT_EQ(ask("QStartNoAckMode"), "OK");
    raw(framed("qC"));
    EXPECT_THAT(host.sent, StartsWith("$QC1"));
    host.sent.clear();
    EXPECT_EQ(ask("qCRC:1000,10"), "");
}

TEST_F(SessionTest, RegistersComeInTheOrderOfTheDescription)
{
    guests.list[0].registers.gpr[static_cast<unsigned>(spec::Gpr::rbx)] = 0x1122334455667788;
    guests.list[0].registers.rip = 0xffffffff81000000;
    guests.list[0].registers.cr3 = 0x12345000;
    const std::string all = ask("g");
    EXPECT_EQ(all.substr(16, 16), "8877665544332211");
    EXPECT_EQ(all.substr(16 * 16, 16), "00000081ffffffff");
    EXPECT_EQ(ask(fmt::format("p{:x}", number_of("cr3"))), "0050341200000000");
    EXPECT_EQ(ask("p1"), "8877665544332211");
    EXPECT_EQ(ask("p999"), "E16");
    const std::string xml = ask("qXfer:features:read:target.xml:0,fff");
    EXPECT_THAT(xml, StartsWith("m<?xml"));
    EXPECT_THAT(xml, HasSubstr("org.gnu.gdb.i386.core"));
    EXPECT_EQ(ask("qXfer:features:read:target.xml:fffff,10"), "E16");
    EXPECT_EQ(ask("qXfer:features:read:other.xml:0,10"), "E16");
}

TEST_F(SessionTest, AWholeDescriptionIsWellFormedWithAvx512)
{
    const auto table = register_table(0xe7);
    const std::string xml = target_description(table);
    for (const char* word : {"<feature name=\"org.gnu.gdb.i386.avx512\">", "name=\"zmm31h\" bitsize=\"256\"",
                             "name=\"k7\"", "org.seamless.x86.msr", "name=\"kernel_gs_base\""})
        EXPECT_THAT(xml, HasSubstr(word));
    EXPECT_EQ(std::ranges::count(table, std::string("gs_base"), &Register::name), 1);
}

TEST_F(SessionTest, RegistersAreWrittenOneByOneAndTogether)
{
    EXPECT_EQ(ask("P1=0102030405060708"), "OK");
    EXPECT_EQ(guests.list[0].registers.gpr[static_cast<unsigned>(spec::Gpr::rbx)], 0x0807060504030201u);
    std::string all = ask("g");
    all.replace(0, 2, "ff");
    EXPECT_EQ(ask("G" + all), "OK");
    EXPECT_EQ(guests.list[0].registers.gpr[0], 0xffu);
    EXPECT_EQ(ask("G" + all.substr(2)), "E16");
    EXPECT_EQ(ask("P1=01"), "E16");
    EXPECT_EQ(ask(fmt::format("P{:x}=0100000000000000", number_of("cr0"))), "E16")
        << "the port refuses another mode";
    guests.list[0].stopped = false;
    EXPECT_EQ(ask("P1=0102030405060708"), "E16") << "outside of the guest";
}

TEST_F(SessionTest, TagWordOfTheX87IsThatOfFstenv)
{
    auto& legacy = guests.list[0].registers.vector.legacy;
    legacy[4] = 0x80;      // physical register 7 is in use
    legacy[3] = 7 << 3;    // and on top: ST0
    legacy[32 + 7] = 0x80; // 1.0
    legacy[32 + 9] = 0x3f;
    legacy[32 + 8] = 0xff;
    EXPECT_EQ(ask(fmt::format("p{:x}", number_of("ftag"))), "ff3f0000");
    EXPECT_EQ(ask(fmt::format("P{:x}=ffff0000", number_of("ftag"))), "OK");
    EXPECT_EQ(guests.list[0].registers.vector.legacy[4], 0);
}

TEST_F(SessionTest, MemoryIsLinearOrPhysical)
{
    guests.memory[0x10] = 0xab;
    EXPECT_EQ(ask("mffff800000000010,2"), "ab00");
    EXPECT_EQ(ask("m10,2"), "E0e");
    EXPECT_EQ(ask("Qqemu.PhyMemMode:1"), "OK");
    EXPECT_EQ(ask("qqemu.PhyMemMode"), "1");
    EXPECT_EQ(ask("m10,2"), "ab00");
    EXPECT_EQ(ask("M10,2:cdef"), "OK");
    EXPECT_EQ(guests.memory[0x11], 0xef);
    EXPECT_EQ(ask("M10,3:cdef"), "E16");
    EXPECT_EQ(ask("X10,2:#}"), "OK"); // both escaped on the way
    EXPECT_EQ(guests.memory[0x10], '#');
    EXPECT_EQ(ask("m3fff,10"), "00") << "as much as there is";
    EXPECT_EQ(ask("M3fff,2:0000"), "E0e");
    EXPECT_THAT(monitor("phys off"), HasSubstr("linear"));
    EXPECT_EQ(ask("m10,2"), "E0e");
}

TEST_F(SessionTest, ThreadsAreVcpus)
{
    EXPECT_EQ(ask("qfThreadInfo"), "m1,2");
    EXPECT_EQ(ask("qsThreadInfo"), "l");
    EXPECT_EQ(ask("T2"), "OK");
    EXPECT_EQ(ask("T3"), "E16");
    EXPECT_EQ(ask("Hg2"), "OK");
    EXPECT_EQ(ask("Hg9"), "E16");
    EXPECT_EQ(ask("qC"), "QC2");
    guests.list[1].registers.halted = true;
    guests.list[1].stopped = false;
    EXPECT_EQ(*from_hex(ask("qThreadExtraInfo,2")), "vCPU 1, CPL 0, halted, outside since HLT");
    EXPECT_THAT(ask("qXfer:threads:read::0,1000"), HasSubstr("<thread id=\"2\" core=\"1\""));
}

TEST_F(SessionTest, ActionsChooseTheirThreads)
{
    EXPECT_EQ(ask("vCont?"), "vCont;c;C;s;S;r");
    EXPECT_EQ(ask("vCont;s:2;c"), "");
    ASSERT_EQ(guests.resumed.back().size(), 2u);
    EXPECT_FALSE(guests.resumed.back()[0].step);
    EXPECT_TRUE(guests.resumed.back()[1].step);
    EXPECT_EQ(ask("g"), "E10") << "guests run";
    guests.stops.push_back({.vcpu = 1, .reason = StopReason::stepped, .address = 0x10});
    session->guests_changed();
    EXPECT_EQ(take(), "T05thread:2;");
    EXPECT_EQ(ask("vCont;C05:1"), "");
    ASSERT_EQ(guests.resumed.back().size(), 1u);
    raw("\x03");
    EXPECT_EQ(take(), "T02thread:2;");
    for (const char* bad : {"vCont;", "vCont;x", "vCont;c:9", "vCont;r1", "vCont;r1,"})
        EXPECT_EQ(ask(bad), "E16") << bad;
}

TEST_F(SessionTest, ARangeIsSteppedWithoutTheDebugger)
{
    EXPECT_EQ(ask("vCont;r100,110:1"), "");
    for (const u64 rip : {0x104, 0x10f}) {
        guests.stops.push_back({.vcpu = 0, .reason = StopReason::stepped, .address = rip});
        session->guests_changed();
        EXPECT_EQ(take(), "");
    }
    EXPECT_EQ(guests.resumed.size(), 3u);
    guests.stops.push_back({.vcpu = 0, .reason = StopReason::stepped, .address = 0x110});
    session->guests_changed();
    EXPECT_EQ(take(), "T05thread:1;");
}

TEST_F(SessionTest, StopsSayWhichBreakpointOrWatchpoint)
{
    for (const char* packet : {"Z0,1000,1", "Z1,2000,1", "Z2,3000,8", "Z3,4000,4", "Z4,5000,2"})
        EXPECT_EQ(ask(packet), "OK");
    const auto stop = [&](StopReason reason, u64 address) {
        EXPECT_EQ(ask("c"), "");
        guests.stops.push_back({.vcpu = 0, .reason = reason, .address = address});
        session->guests_changed();
        return take();
    };
    EXPECT_EQ(stop(StopReason::breakpoint, 0x1000), "T05thread:1;swbreak:;");
    EXPECT_EQ(stop(StopReason::breakpoint, 0x2000), "T05thread:1;hwbreak:;");
    EXPECT_EQ(stop(StopReason::watchpoint, 0x3004), "T05thread:1;watch:3004;");
    EXPECT_EQ(stop(StopReason::watchpoint, 0x4000), "T05thread:1;rwatch:4000;");
    EXPECT_EQ(stop(StopReason::watchpoint, 0x5001), "T05thread:1;awatch:5001;");
    ASSERT_EQ(guests.watchpoints.size(), 3u);
    EXPECT_EQ(guests.watchpoints[0], (trace::Watchpoint{.start = 0x3000, .bytes = 8, .writes = true}));
    EXPECT_EQ(ask("z2,3000,8"), "OK");
    EXPECT_EQ(ask("c"), "");
    EXPECT_EQ(guests.watchpoints.size(), 2u);
    raw("\x03");
    (void)take();
    for (const char* bad : {"Z5,0,1", "Z2,0,0", "Z2,0,ffffffff", "Z0,0", "Z0", "z9,1,1"})
        EXPECT_EQ(ask(bad), "E16") << bad;
}

TEST_F(SessionTest, BreakpointsHaveALimit)
{
    for (unsigned i = 0; i < 1024; ++i)
        EXPECT_EQ(ask(fmt::format("Z0,{:x},1", i)), "OK");
    EXPECT_EQ(ask("Z0,ffff,1"), "E1c");
    EXPECT_EQ(ask("Z0,0,1"), "OK") << "it is there already";
}

TEST_F(SessionTest, TheEndOfTheRunIsAStop)
{
    EXPECT_EQ(ask("c"), "");
    session->run_ended(6);
    EXPECT_EQ(take(), "W06");
    EXPECT_TRUE(session->over());
}

TEST_F(SessionTest, KillEndsTheRunAndDetachDoesNot)
{
    EXPECT_EQ(ask("k"), "OK");
    EXPECT_TRUE(host.ended);
    Recorder other;
    Session second(guests, other);
    const std::string packet = framed("D");
    second.receive({reinterpret_cast<const u8*>(packet.data()), packet.size()});
    EXPECT_TRUE(second.over());
    EXPECT_FALSE(other.ended);
    EXPECT_TRUE(guests.running);
}

TEST_F(SessionTest, MonitorShowsWhatOnlyThisHostKnows)
{
    EXPECT_THAT(monitor("help"), HasSubstr("walk-gpa GPA"));
    EXPECT_THAT(monitor("walk 0x1234"), HasSubstr("secure EPT level 0"));
    EXPECT_THAT(monitor("walk 0x1234"), HasSubstr("PENDING: the guest has not accepted the page"));
    EXPECT_THAT(monitor("walk rip"), HasSubstr("P RW A D XD -> 0x0"));
    EXPECT_THAT(monitor("walk-gpa 0xfe000000"), HasSubstr("suppress-#VE clear: an access becomes #VE"));
    EXPECT_THAT(monitor("td"), HasSubstr("0x10000000 SEPT_VE_DISABLE"));
    EXPECT_THAT(monitor("td"), HasSubstr("MRTD          ab00"));
    EXPECT_THAT(monitor("ve-info"), HasSubstr("VALID"));
    EXPECT_THAT(monitor("ve-info"), HasSubstr("EPT_VIOLATION"));
    EXPECT_THAT(monitor("vcpus"), HasSubstr("vCPU 1"));
    guests.memory[0x20] = 0x5a;
    EXPECT_EQ(monitor("xp 0x20 4"), "0x000000000020  5a 00 00 00\n");
    EXPECT_THAT(monitor("xp 0x3ffe 4"), HasSubstr("no memory at guest-physical 0x4000"));
    guests.td = false;
    EXPECT_THAT(monitor("td"), HasSubstr("belongs to no TD"));
}

TEST_F(SessionTest, MonitorShowsTheLastEventsOfItsVcpu)
{
    trace::Record exit{.vcpu = 0, .event = trace::Event::kvm_exit, .count = 1};
    exit.values[0] = trace::Value("EPT_MISCONFIG");
    guests.events.assign(30, exit);
    guests.events.back().vcpu = 1;
    const std::string text = monitor("exits 5");
    EXPECT_EQ(std::ranges::count(text, '\n'), 5);
    EXPECT_THAT(text, HasSubstr("reason=EPT_MISCONFIG"));
    EXPECT_EQ(std::ranges::count(monitor("events"), '\n'), 20);
    EXPECT_THAT(monitor("ves"), HasSubstr("none"));
    EXPECT_THAT(monitor("history 0x1000"), HasSubstr("kvm_exit"));
}

TEST_F(SessionTest, MonitorRefusesWhatItDoesNotKnow)
{
    EXPECT_THAT(monitor("frobnicate"), HasSubstr("there is no command"));
    EXPECT_THAT(monitor("walk"), HasSubstr("usage"));
    EXPECT_THAT(monitor("walk xyz"), HasSubstr("neither a number nor a register"));
    EXPECT_THAT(monitor("exits many"), HasSubstr("no number"));
    EXPECT_THAT(monitor("xp 0 999999999"), HasSubstr("usage"));
    EXPECT_EQ(ask("qRcmd,1"), "E16");
}

} // namespace
} // namespace seamless::gdb
