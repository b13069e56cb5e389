// SPDX-License-Identifier: Apache-2.0
// Fuzzes the gdb server: any bytes, or packets made of what packets consist of, while scripted guests stop.
#include <fmt/format.h>

#include "fakes/scripted_guests.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "gdb/session.h"

namespace seamless::fuzz {
namespace {

constexpr std::size_t kMostSent = 64 << 20;

struct Sink : gdb::Host {
    std::string last;
    std::size_t bytes = 0;
    void send(std::string_view sent) override
    {
        bytes += sent.size();
        last = sent;
    }
    void end_run() override { Depth::reached("ends", "kill"); }
};

std::string draw_packet(Input& in)
{
    constexpr const char* kNames[] = {"?",
                                      "g",
                                      "G",
                                      "p",
                                      "P",
                                      "m",
                                      "M",
                                      "X",
                                      "Z0,",
                                      "Z2,",
                                      "z0,",
                                      "Z4,",
                                      "H",
                                      "Hg",
                                      "T",
                                      "vCont;",
                                      "vCont;c",
                                      "s",
                                      "c",
                                      "qRcmd,",
                                      "qC",
                                      "D",
                                      "k",
                                      "qThreadExtraInfo,",
                                      "qXfer:features:read:target.xml:",
                                      "qXfer:threads:read::",
                                      "qfThreadInfo",
                                      "qSupported",
                                      "Qqemu.PhyMemMode:",
                                      "vCont?"};
    constexpr const char* kParts[] = {"0",
                                      "1",
                                      "2",
                                      "ffffffffffffffff",
                                      "1000",
                                      ",",
                                      ":",
                                      ";",
                                      "=",
                                      "-1",
                                      "ffff800000000000",
                                      "s:1",
                                      "r1,2:1",
                                      "40",
                                      "zz",
                                      "}",
                                      "7fffffff",
                                      "c"};
    constexpr const char* kCommands[] = {"help",    "td",     "walk ",    "walk-gpa ", "xp ",     "exits ",
                                         "ve-info", "events", "history ", "vcpus",     "phys on", "phys off"};
    constexpr const char* kWords[] = {"rip", "0x1000", "99999999999999999999", "-1", " ", "cr3", "7"};
    std::string packet = in.pick(kNames);
    if (packet == "qRcmd,") {
        std::string line = in.pick(kCommands);
        for (u64 i = in.below(3); i > 0; --i)
            line += in.pick(kWords);
        return packet + gdb::to_hex(line);
    }
    for (u64 i = in.below(8); i > 0; --i)
        packet += in.pick(kParts);
    return packet;
}

void feed(gdb::Session& session, std::string_view bytes)
{
    session.receive({reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
}

void stop_guests(Input& in, fakes::ScriptedGuests& guests, gdb::Session& session)
{
    guests.stops.push_back({.vcpu = static_cast<u32>(in.below(3)),
                            .reason = static_cast<trace::StopReason>(in.below(4)),
                            .address = in.number()});
    session.guests_changed();
}

void run(Input in)
{
    fakes::ScriptedGuests guests;
    if (in.flag())
        guests.list.clear();
    guests.td = in.flag();
    Sink sink;
    gdb::Session session(guests, sink);
    if (in.flag())
        return feed(session, {reinterpret_cast<const char*>(in.rest().data()), in.rest().size()});
    while (!in.empty() && !session.over()) {
        const u8 what = in.byte();
        if (what < 16) {
            guests.list[static_cast<u32>(in.below(3))].stopped = in.flag();
            session.guests_changed();
        } else if (what < 48) {
            stop_guests(in, guests, session);
        } else if (what < 64) {
            feed(session, "\x03");
        } else {
            const std::string packet = draw_packet(in);
            sink.last.clear();
            feed(session, gdb::framed(packet));
            if (!sink.last.empty())
                Depth::reached("answers", packet.substr(0, 5) + sink.last.substr(0, 2));
        }
        if (sink.bytes > kMostSent)
            return;
    }
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
