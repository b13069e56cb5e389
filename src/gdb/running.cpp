// SPDX-License-Identifier: Apache-2.0
// Guests go on, and stop. GDB manual: "Stop Reply Packets", "vCont packet".
#include <algorithm>
#include <fmt/format.h>

#include "gdb/session.h"

namespace seamless::gdb {
namespace {

using trace::Resume;
using trace::StopReason;
using trace::VcpuStop;

constexpr unsigned kSoftware = 0, kWrite = 2, kRead = 3, kAccess = 4;
constexpr u8 kInvalid = 22;

} // namespace

std::vector<Resume> Session::everybody() const
{
    std::vector<Resume> actions;
    for (const trace::VcpuStatus& vcpu : guests_.vcpus())
        actions.push_back({.vcpu = vcpu.id});
    return actions;
}

void Session::let_all_go()
{
    guests_.stop();
    guests_.set_points({}, {});
    while (guests_.take_stop()) {
    }
    running_ = false;
    guests_.resume(everybody());
}

void Session::go(std::vector<Resume> actions)
{
    std::vector<u64> breakpoints;
    std::vector<trace::Watchpoint> watchpoints;
    for (const Point& p : points_)
        if (p.type < kWrite)
            breakpoints.push_back(p.address);
        else
            watchpoints.push_back({.start = p.address,
                                   .bytes = p.bytes,
                                   .reads = p.type == kRead || p.type == kAccess,
                                   .writes = p.type == kWrite || p.type == kAccess});
    std::ranges::sort(breakpoints);
    breakpoints.erase(std::unique(breakpoints.begin(), breakpoints.end()), breakpoints.end());
    guests_.set_points(breakpoints, watchpoints);
    last_actions_ = std::move(actions);
    running_ = true;
    guests_.resume(last_actions_);
}

// An address to go on at is not taken: gdb writes RIP itself.
void Session::continue_all(PacketText)
{
    ranges_.clear();
    go(everybody());
}

void Session::step_one(PacketText)
{
    ranges_.clear();
    go(std::vector<Resume>{{.vcpu = current_, .step = true}});
}

void Session::actions_known(PacketText) { reply("vCont;c;C;s;S;r"); }

// "action[:thread]". A signal that goes with it means nothing to a guest.
std::optional<Session::Action> Session::action(PacketText one) const
{
    Action action;
    const bool range = one.take("r");
    const bool signal = !range && (one.rest().starts_with("S") || one.rest().starts_with("C"));
    action.step = range || one.take("s") || one.take("S");
    if (!action.step && !one.take("c") && !one.take("C"))
        return std::nullopt;
    if (range) {
        const auto start = one.number();
        const auto end = one.number_after(",");
        if (!start || !end)
            return std::nullopt;
        action.range = Range{*start, *end};
    }
    if (signal && !one.number())
        return std::nullopt;
    if (one.take(":") && !one.take("-1")) {
        action.vcpu = thread(one);
        if (!action.vcpu)
            return std::nullopt;
    }
    return one.empty() ? std::optional(action) : std::nullopt;
}

// The first action that fits a thread is its own.
void Session::actions(PacketText text)
{
    std::vector<Action> list;
    while (!text.empty()) {
        const auto one = action(PacketText(text.until(';')));
        if (!one)
            return error(kInvalid);
        list.push_back(*one);
    }
    ranges_.clear();
    std::vector<Resume> resumes;
    for (const trace::VcpuStatus& vcpu : guests_.vcpus()) {
        const auto mine =
            std::ranges::find_if(list, [&](const Action& a) { return !a.vcpu || *a.vcpu == vcpu.id; });
        if (mine == list.end())
            continue;
        resumes.push_back({.vcpu = vcpu.id, .step = mine->step});
        if (mine->range)
            ranges_[vcpu.id] = *mine->range;
    }
    if (resumes.empty())
        return error(kInvalid);
    go(std::move(resumes));
}

void Session::interrupt()
{
    constexpr std::string_view kInterrupted = "T02";
    if (!running_)
        return;
    guests_.stop();
    if (const auto stop = guests_.take_stop())
        return report(*stop);
    running_ = false;
    const auto list = guests_.vcpus();
    const bool mine_stopped =
        std::ranges::any_of(list, [&](const trace::VcpuStatus& v) { return v.id == current_ && v.stopped; });
    if (!mine_stopped) // a thread that is in the guest says more
        for (const trace::VcpuStatus& vcpu : list)
            if (vcpu.stopped) {
                current_ = vcpu.id;
                break;
            }
    last_stop_.reset();
    reply(fmt::format("{}thread:{:x};", kInterrupted, current_ + 1));
}

void Session::guests_changed()
{
    if (asked_why_ && !guests_.vcpus().empty()) {
        asked_why_ = false;
        return why(PacketText(""));
    }
    if (!running_)
        return;
    if (const auto stop = guests_.take_stop()) {
        if (goes_on_in_range(*stop))
            return go(last_actions_);
        report(*stop);
    }
}

bool Session::goes_on_in_range(const VcpuStop& stop)
{
    const auto range = ranges_.find(stop.vcpu);
    return stop.reason == StopReason::stepped && range != ranges_.end() &&
           stop.address >= range->second.start && stop.address < range->second.end;
}

void Session::report(const VcpuStop& stop)
{
    running_ = false;
    current_ = stop.vcpu;
    last_stop_ = stop;
    reply(stop_reply(stop));
}

std::string Session::stop_reply(const VcpuStop& stop) const
{
    std::string text = fmt::format("T05thread:{:x};", stop.vcpu + 1);
    for (const Point& p : points_) {
        if (stop.reason == StopReason::breakpoint && p.type < kWrite && p.address == stop.address)
            return text + (p.type == kSoftware ? "swbreak:;" : "hwbreak:;");
        if (stop.reason == StopReason::watchpoint && p.type >= kWrite && stop.address - p.address < p.bytes)
            return text + fmt::format("{}:{:x};",
                                      p.type == kWrite  ? "watch"
                                      : p.type == kRead ? "rwatch"
                                                        : "awatch",
                                      stop.address);
    }
    return text;
}

} // namespace seamless::gdb
