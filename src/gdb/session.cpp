// SPDX-License-Identifier: Apache-2.0
// Packets come in here; kPackets says who answers them.
#include "gdb/session.h"

#include <algorithm>
#include <fmt/format.h>

namespace seamless::gdb {

// The longest name that fits comes first.
// clang-format off
const Session::Row Session::kPackets[] = {
    {"?",                        &Session::why},
    {"C",                        &Session::continue_all},
    {"D",                        &Session::detach},
    {"G",                        &Session::write_registers},
    {"H",                        &Session::choose_thread},
    {"M",                        &Session::write_memory},
    {"P",                        &Session::write_register},
    {"QStartNoAckMode",          &Session::no_acks},
    {"Qqemu.PhyMemMode:",        &Session::physical_memory},
    {"S",                        &Session::step_one},
    {"T",                        &Session::thread_alive},
    {"X",                        &Session::write_binary},
    {"Z",                        &Session::insert_point},
    {"c",                        &Session::continue_all},
    {"g",                        &Session::read_registers},
    {"k",                        &Session::kill},
    {"m",                        &Session::read_memory},
    {"p",                        &Session::read_register},
    {"qAttached",                &Session::attached},
    {"qC",                       &Session::current_thread},
    {"qRcmd,",                   &Session::command},
    {"qSupported",               &Session::supported},
    {"qThreadExtraInfo,",        &Session::thread_text},
    {"qXfer:features:read:",     &Session::transfer_features},
    {"qXfer:threads:read::",     &Session::transfer_threads},
    {"qfThreadInfo",             &Session::first_threads},
    {"qqemu.PhyMemMode",         &Session::is_physical},
    {"qsThreadInfo",             &Session::more_threads},
    {"s",                        &Session::step_one},
    {"vCont;",                   &Session::actions},
    {"vCont?",                   &Session::actions_known},
    {"vKill;",                   &Session::kill},
    {"z",                        &Session::remove_point},
};
// clang-format on

Session::Session(trace::Inspection& guests, Host& host) : guests_(guests), host_(host), monitor_(guests)
{
    guests_.stop();
    if (const auto list = guests_.vcpus(); !list.empty())
        current_ = list.front().id;
}

Session::~Session() { let_all_go(); }

void Session::reply(std::string_view data)
{
    last_sent_ = framed(data);
    host_.send(last_sent_);
}

void Session::error(u8 number) { reply(fmt::format("E{:02x}", number)); }

void Session::receive(std::span<const u8> bytes)
{
    reader_.feed(bytes);
    while (!over_) {
        const std::optional<Incoming> in = reader_.next();
        if (!in)
            return;
        switch (in->kind) {
        case Incoming::Kind::packet:
            if (acks_)
                host_.send("+");
            packet(in->data);
            break;
        case Incoming::Kind::damaged:
            if (acks_)
                host_.send("-");
            break;
        case Incoming::Kind::refused:
            if (acks_)
                host_.send(last_sent_);
            break;
        case Incoming::Kind::interrupt:
            interrupt();
            break;
        case Incoming::Kind::acknowledged:
            break;
        }
    }
}

void Session::packet(const std::string& data)
{
    constexpr u8 kBusy = 16;
    const Row* best = nullptr;
    for (const Row& row : kPackets)
        if (std::string_view(data).starts_with(row.name) && (!best || row.name.size() > best->name.size()))
            best = &row;
    if (best == nullptr || (best->name == "qC" && data != "qC")) // qCRC and others we do not have
        return reply("");
    if (running_ && best->handle != &Session::detach && best->handle != &Session::kill)
        return error(kBusy); // guests run: only an interrupt is of use
    PacketText rest(data);
    (void)rest.take(best->name);
    (this->*best->handle)(rest);
}

void Session::why(PacketText)
{
    const auto list = guests_.vcpus();
    if (list.empty()) {
        asked_why_ = true; // the answer comes with the first vCPU
        return;
    }
    if (!exists(current_))
        current_ = list.front().id;
    reply(stop_reply(last_stop_.value_or(trace::VcpuStop{.vcpu = current_})));
}

void Session::no_acks(PacketText)
{
    ok();
    acks_ = false;
}

void Session::detach(PacketText)
{
    let_all_go();
    ok();
    over_ = true;
}

void Session::kill(PacketText)
{
    ok();
    over_ = true;
    let_all_go();
    host_.end_run();
}

void Session::run_ended(int exit_status)
{
    if (running_ || asked_why_)
        reply(fmt::format("W{:02x}", exit_status & 0xff));
    running_ = false;
    over_ = true;
}

} // namespace seamless::gdb
