// SPDX-License-Identifier: Apache-2.0
// What the debugger asks about the target. GDB manual: "General Query Packets".
#include <algorithm>
#include <fmt/format.h>

#include "gdb/session.h"

namespace seamless::gdb {
namespace {

constexpr u8 kInvalid = 22;

} // namespace

void Session::supported(PacketText)
{
    reply(fmt::format("PacketSize={:x};qXfer:features:read+;qXfer:threads:read+;vContSupported+;"
                      "QStartNoAckMode+;swbreak+;hwbreak+",
                      kMaxPacket));
}

// Guests are there before the debugger comes, and stay when it goes.
void Session::attached(PacketText) { reply("1"); }

void Session::current_thread(PacketText) { reply(fmt::format("QC{:x}", current_ + 1)); }

void Session::first_threads(PacketText)
{
    std::string ids;
    for (const trace::VcpuStatus& vcpu : guests_.vcpus())
        ids += fmt::format("{}{:x}", ids.empty() ? "m" : ",", vcpu.id + 1);
    reply(ids.empty() ? "m1" : ids);
}

void Session::more_threads(PacketText) { reply("l"); }

std::string Session::description(const trace::VcpuStatus& vcpu)
{
    std::string text = fmt::format("vCPU {}", vcpu.id);
    const auto registers = guests_.registers(vcpu.id);
    if (!registers)
        return text;
    const unsigned cpl = spec::segment_ar::dpl(registers->seg[static_cast<unsigned>(spec::Seg::ss)].ar);
    text += fmt::format(", CPL {}", cpl);
    if (registers->halted)
        text += ", halted";
    if (!vcpu.stopped)
        text += fmt::format(", outside since {}",
                            spec::exit_reason_name(static_cast<spec::ExitReason>(vcpu.exit_reason & 0xffff)));
    return text;
}

void Session::thread_text(PacketText text)
{
    const auto id = thread(text);
    for (const trace::VcpuStatus& vcpu : guests_.vcpus())
        if (id && vcpu.id == *id)
            return reply(to_hex(description(vcpu)));
    error(kInvalid);
}

// "offset,length" of a document, in pieces.
void Session::transfer(PacketText range, const std::string& document)
{
    const auto offset = range.number();
    const auto length = range.number_after(",");
    if (!offset || !length || *offset > document.size())
        return error(kInvalid);
    const std::size_t bytes = std::min<std::size_t>({*length, document.size() - *offset, kMaxPacket - 1});
    const bool last = *offset + bytes == document.size();
    reply((last ? "l" : "m") + document.substr(*offset, bytes));
}

void Session::transfer_features(PacketText text)
{
    if (!text.take("target.xml:"))
        return error(kInvalid);
    transfer(text, target_description(table()));
}

void Session::transfer_threads(PacketText text)
{
    std::string xml = "<?xml version=\"1.0\"?>\n<threads>\n";
    for (const trace::VcpuStatus& vcpu : guests_.vcpus())
        xml += fmt::format("<thread id=\"{:x}\" core=\"{}\" name=\"{}\">{}</thread>\n", vcpu.id + 1, vcpu.id,
                           vcpu.td ? "TD vCPU" : "vCPU", description(vcpu));
    transfer(text, xml + "</threads>\n");
}

// Text goes out in pieces that fit; the debugger prints them as they come.
void Session::command(PacketText text)
{
    constexpr std::size_t kPiece = kMaxPacket / 2 - 1;
    const auto line = from_hex(text.rest());
    if (!line)
        return error(kInvalid);
    std::string out;
    if (*line == "phys on" || *line == "phys off") {
        physical_ = *line == "phys on";
        out = fmt::format("addresses of memory are guest-{} now\n", physical_ ? "physical" : "linear");
    } else {
        out = monitor_.run(*line, current_);
    }
    for (std::size_t at = 0; at < out.size(); at += kPiece)
        reply("O" + to_hex(std::string_view(out).substr(at, kPiece)));
    ok();
}

void Session::physical_memory(PacketText text)
{
    const auto on = text.number();
    if (!on || *on > 1)
        return error(kInvalid);
    physical_ = *on == 1;
    ok();
}

void Session::is_physical(PacketText) { reply(physical_ ? "1" : "0"); }

} // namespace seamless::gdb
