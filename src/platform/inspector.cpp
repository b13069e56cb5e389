// SPDX-License-Identifier: Apache-2.0
// Holding guests and letting them go. While all stand still, the host's interrupts wait with them, so that a
// guest that is stepped does not find itself in a handler; while some run, those that stand serve the host.
#include "platform/inspector.h"

#include <chrono>

namespace seamless::platform {

using namespace std::chrono_literals;
using Reason = cpu::DebugStop::Reason;
using trace::Resume;
using trace::StopReason;
using trace::VcpuStop;

namespace {

constexpr auto kLook = 20ms;    // how often a vCPU that stands still looks whether the VMM wants it
constexpr auto kPatience = 10s; // for guests to stop, which takes microseconds

} // namespace

void Inspector::look_at(tdx::TdxModule* module, EventMemory* events)
{
    const std::lock_guard lock(mutex_);
    module_ = module;
    events_ = events;
}

void Inspector::look_back(const StallWatch& watch)
{
    const std::lock_guard lock(mutex_);
    watch_ = &watch;
    for (u32 vcpu = 0; vcpu < StallWatch::kVcpus; ++vcpu) {
        const ExitHistory* history = watch.history(vcpu);
        if (history == nullptr || history->vmcs() == nullptr)
            continue;
        Slot& slot = slots_[vcpu];
        slot.where = Where::outside;
        slot.last_vmcs = *history->vmcs();
        slot.last_context = *history->context();
    }
}

void Inspector::forget_vcpus()
{
    const std::lock_guard lock(mutex_);
    watch_ = nullptr;
    slots_.clear();
    new_go_ = true;
}

void Inspector::listen(std::function<void()> stopped)
{
    const std::lock_guard lock(mutex_);
    listener_ = std::move(stopped);
}

void Inspector::notify()
{
    changed_.notify_all();
    if (listener_)
        listener_();
}

Inspector::Slot& Inspector::slot_of(u32 vcpu, cpu::Debuggee& debuggee, cpu::Vmcs& vmcs,
                                    cpu::GuestContext& context)
{
    const auto [at, fresh] = slots_.try_emplace(vcpu);
    Slot& slot = at->second;
    if (fresh)
        slot.go = new_go_;
    slot.debuggee = &debuggee;
    slot.vmcs = &vmcs;
    slot.context = &context;
    slot.where = Where::stopped;
    slot.signals_seen = signals_;
    if (fresh)
        notify();
    return slot;
}

// A vCPU that stands still is lent to the host, if the host waits for it and that cannot disturb anybody; and
// always if the VMM wants it.
bool Inspector::goes_back(Slot& slot) const
{
    const u64 signals = signals_;
    return slot.debuggee->host_waits() && (!stopping_ || signals != slot.signals_seen);
}

cpu::DebugPort::Run Inspector::before(cpu::LogicalProcessor& lp, cpu::Debuggee& debuggee, cpu::Vmcs& vmcs,
                                      cpu::GuestContext& context)
{
    std::unique_lock lock(mutex_);
    const u32 vcpu = lp.trace.vcpu;
    Slot& slot = slot_of(vcpu, debuggee, vmcs, context);
    changed_.notify_all();
    if (slot.step && slot.left && vmcs.rip != slot.step_from) // the host has done it
        stopped_by_itself(vcpu, slot, {.reason = Reason::stepped});
    while (held(slot)) {
        if (goes_back(slot))
            return {.enter = false};
        changed_.wait_for(lock, kLook);
    }
    slot.where = Where::running;
    return {.enter = true,
            .step = slot.step,
            .code_changed = std::exchange(slot.code_changed, false),
            .points = &points_};
}

void Inspector::after(cpu::LogicalProcessor& lp, const cpu::Vmcs& vmcs, const cpu::GuestContext& context,
                      const cpu::DebugStop& stop)
{
    const std::lock_guard lock(mutex_);
    const auto at = slots_.find(lp.trace.vcpu);
    if (at == slots_.end())
        return;
    Slot& slot = at->second;
    if (stop.reason == Reason::none) {
        slot.where = Where::outside;
        slot.left = true;
        slot.last_vmcs = vmcs;
        slot.last_context = context;
    } else {
        slot.where = Where::stopped;
        if (stop.reason != Reason::asked)
            stopped_by_itself(at->first, slot, stop);
    }
    changed_.notify_all();
}

void Inspector::stopped_by_itself(u32 vcpu, Slot& slot, const cpu::DebugStop& stop)
{
    slot.step = false;
    slot.stop = VcpuStop{.vcpu = vcpu,
                         .reason = stop.reason == Reason::stepped      ? StopReason::stepped
                                   : stop.reason == Reason::breakpoint ? StopReason::breakpoint
                                                                       : StopReason::watchpoint,
                         .address = stop.reason == Reason::watchpoint ? stop.address : slot.vmcs->rip};
    ask_all_to_stop();
    notify();
}

void Inspector::ask_all_to_stop()
{
    stopping_ = true;
    for (auto& [vcpu, slot] : slots_)
        if (slot.where == Where::running)
            slot.debuggee->stop_guest();
}

void Inspector::wait_until_all_stand(std::unique_lock<std::mutex>& lock)
{
    changed_.wait_for(lock, kPatience, [this] {
        for (const auto& [vcpu, slot] : slots_)
            if (slot.where == Where::running)
                return false;
        return true;
    });
}

void Inspector::stop()
{
    std::unique_lock lock(mutex_);
    ask_all_to_stop();
    wait_until_all_stand(lock);
}

// Another vCPU that stands at a breakpoint will find it again, if it is still there by then.
std::optional<VcpuStop> Inspector::take_stop()
{
    std::unique_lock lock(mutex_);
    std::optional<VcpuStop> taken;
    for (auto& [vcpu, slot] : slots_) {
        if (!slot.stop)
            continue;
        if (!taken)
            taken = std::exchange(slot.stop, {});
        else if (slot.stop->reason == StopReason::breakpoint)
            slot.stop.reset();
    }
    if (taken)
        wait_until_all_stand(lock);
    return taken;
}

void Inspector::resume(std::span<const Resume> actions)
{
    const std::lock_guard lock(mutex_);
    for (auto& [vcpu, slot] : slots_) {
        slot.go = slot.step = false;
        if (slot.stop)
            return notify(); // it has something to say first
    }
    for (const Resume& action : actions) {
        const auto at = slots_.find(action.vcpu);
        if (at == slots_.end())
            continue;
        Slot& slot = at->second;
        slot.go = true;
        slot.step = action.step;
        slot.left = false;
        slot.step_from = slot.seen_vmcs().rip;
    }
    new_go_ = actions.size() >= slots_.size();
    stopping_ = false;
    changed_.notify_all();
}

void Inspector::set_points(std::span<const u64> breakpoints, std::span<const trace::Watchpoint> watchpoints)
{
    std::unique_lock lock(mutex_);
    std::vector<u64> sorted(breakpoints.begin(), breakpoints.end());
    std::ranges::sort(sorted);
    if (sorted != points_.breakpoints) {
        points_.breakpoints = std::move(sorted);
        ++points_.version;
    }
    points_.watches.clear();
    for (const trace::Watchpoint& w : watchpoints)
        points_.watches.push_back({.start = w.start, .bytes = w.bytes, .reads = w.reads, .writes = w.writes});
}

} // namespace seamless::platform
