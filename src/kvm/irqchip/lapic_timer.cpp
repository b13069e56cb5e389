// SPDX-License-Identifier: Apache-2.0
// The APIC timer: one-shot, periodic and TSC-deadline, on a timer of the host. SDM: "APIC Timer".
#include <algorithm>

#include "kvm/irqchip/lapic.h"

namespace seamless::kvm {

using namespace spec::apic;

namespace {

// KVM's limit: a guest cannot make the host expire more often than this.
constexpr u64 kShortestPeriodNs = 200'000;

} // namespace

u64 Lapic::divide() const
{
    const u32 v = reg(TDCR);
    const u64 shift = ((v & 3) | (v & 8) >> 1) + 1; // 7 means divide by 1
    return u64{1} << (shift & 7);
}

void Lapic::update_timer_mode()
{
    const auto mode = static_cast<TimerMode>(field(reg(LVT_TIMER), 18, 17));
    if (mode == timer_.mode)
        return;
    if (mode == TimerMode::tsc_deadline || timer_.mode == TimerMode::tsc_deadline) {
        stop_timer();
        reg(TMICT) = 0;
        timer_.period_ns = timer_.tsc_deadline = 0;
    }
    timer_.mode = mode;
}

void Lapic::stop_timer()
{
    timer_.armed = false;
    if (host_timer_)
        host_timer_->cancel();
}

// Counts down from `count`; a periodic timer then goes on from the initial count.
void Lapic::start_timer(u32 count)
{
    const u64 ns_per_count = port_.bus_cycle_ns() * divide();
    timer_.period_ns = reg(TMICT) * ns_per_count;
    if (timer_.mode == TimerMode::periodic && timer_.period_ns != 0)
        timer_.period_ns = std::max(timer_.period_ns, kShortestPeriodNs);
    timer_.armed = count != 0;
    if (!timer_.armed)
        return;
    const u64 first = count == reg(TMICT) ? timer_.period_ns : count * ns_per_count;
    timer_.target_ns = clock_.monotonic_ns() + first;
    if (host_timer_)
        host_timer_->arm(timer_.target_ns);
}

// What is left keeps counting, at the new rate.
void Lapic::set_divide(u32 value)
{
    const u32 left = current_count();
    reg(TDCR) = value;
    if (timer_.armed && timer_.mode != TimerMode::tsc_deadline)
        start_timer(std::max(left, 1u)); // less than one count is left: it still expires
}

void Lapic::start_deadline(Effects& effects)
{
    stop_timer();
    if (timer_.tsc_deadline == 0)
        return;
    const u64 now = port_.guest_tsc();
    timer_.armed = true;
    if (timer_.tsc_deadline <= now) {
        timer_.target_ns = 0;
        return expire(effects);
    }
    const auto ticks = static_cast<unsigned __int128>(timer_.tsc_deadline - now);
    const auto ns = ticks * 1'000'000 / std::max<u64>(port_.guest_tsc_khz(), 1) + 1; // never early
    constexpr u64 kFarAway = u64{1} << 62;
    timer_.target_ns = clock_.monotonic_ns() + static_cast<u64>(std::min<unsigned __int128>(ns, kFarAway));
    if (host_timer_)
        host_timer_->arm(timer_.target_ns);
}

void Lapic::expire(Effects& effects)
{
    timer_.armed = timer_.mode == TimerMode::periodic && timer_.period_ns != 0;
    if (timer_.mode == TimerMode::tsc_deadline)
        timer_.tsc_deadline = 0;
    if (timer_.armed) {
        // Periods that passed unnoticed are one interrupt: it would be pending already.
        const u64 now = clock_.monotonic_ns();
        const u64 late = now > timer_.target_ns ? now - timer_.target_ns : 0;
        timer_.target_ns += (late / timer_.period_ns + 1) * timer_.period_ns;
        if (host_timer_)
            host_timer_->arm(timer_.target_ns);
    }
    const u32 lvt = reg(LVT_TIMER);
    if (!(lvt & LVT_MASKED) && hardware_enabled())
        effects.timer_vector = static_cast<u8>(lvt);
}

void Lapic::timer_expired()
{
    Effects effects;
    {
        const std::lock_guard lock(mutex_);
        if (!timer_.armed || clock_.monotonic_ns() < timer_.target_ns)
            return; // stopped or set anew meanwhile
        if (timer_.mode == TimerMode::tsc_deadline)
            start_deadline(effects); // again, if the counter is a little behind the clock
        else
            expire(effects);
    }
    perform(effects);
}

u32 Lapic::current_count()
{
    if (timer_.mode == TimerMode::tsc_deadline || !timer_.armed || reg(TMICT) == 0)
        return 0;
    const u64 now = clock_.monotonic_ns();
    if (now >= timer_.target_ns)
        return 0;
    return static_cast<u32>((timer_.target_ns - now) / (port_.bus_cycle_ns() * divide()));
}

u64 Lapic::tsc_deadline() const
{
    const std::lock_guard lock(mutex_);
    return timer_.mode == TimerMode::tsc_deadline ? timer_.tsc_deadline : 0;
}

void Lapic::set_tsc_deadline(u64 value)
{
    Effects effects;
    {
        const std::lock_guard lock(mutex_);
        if (timer_.mode != TimerMode::tsc_deadline || !hardware_enabled())
            return;
        timer_.tsc_deadline = value;
        start_deadline(effects);
    }
    perform(effects);
}

} // namespace seamless::kvm
