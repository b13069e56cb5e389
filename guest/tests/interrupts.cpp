// SPDX-License-Identifier: Apache-2.0
// Interrupts from the local APIC: to oneself, priorities, the timer in each of its modes, waking from HLT, in
// the middle of loops and string instructions, and between processors.
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/tdx.h"
#include "guest/tests/apic.h"

namespace seamless::guest {
namespace {

constexpr unsigned kLow = 33, kHigh = 50, kTimer = 52, kCall = 54, kAnswer = 55;
constexpr unsigned kNmiVector = 2;
constexpr unsigned kNested[] = {kLow, kLow + 1, kHigh};
constexpr unsigned kCounted[] = {kLow, kLow + 1, kHigh, kTimer, kAnswer};
constexpr u64 kArea = 0x1000000, kBytes = u64{48} << 20; // memory for the longest of instructions
constexpr u64 kTicks = 100'000; // of the timer: 0.1 ms where its clock is KVM's 1 GHz
constexpr u64 kPatience = u64{20} << 30;

volatile u64 count[kEntries];
volatile unsigned order[8];
volatile unsigned taken;
volatile unsigned vcpus; // that answer
volatile u64 calls[8];
volatile bool done;
volatile unsigned nmis, nmis_in_handler;

bool on_interrupt(Frame& frame)
{
    count[frame.vector] = count[frame.vector] + 1;
    if (taken < 8)
        order[taken] = static_cast<unsigned>(frame.vector);
    taken = taken + 1;
    apic::end_of_interrupt();
    return true;
}

u32 own_id() { return static_cast<u32>(rdmsr(apic::ID)); }

// The first one sends a second one to itself, which is blocked until the first returns.
bool on_nmi(Frame&)
{
    nmis = nmis + 1;
    if (nmis == 1) {
        wrmsr(apic::ICR, apic::to(own_id()) | apic::kNmi);
        for (unsigned i = 0; i < 100; ++i)
            pause();
        nmis_in_handler = nmis;
    }
    return true;
}

void forget()
{
    taken = 0;
    for (unsigned i = 0; i < kEntries; ++i)
        count[i] = 0;
}

// False where it did not come true in many seconds.
template <class Condition>
bool eventually(Condition condition)
{
    for (const u64 start = rdtsc(); !condition();) {
        pause();
        if (rdtsc() - start > kPatience)
            return false;
    }
    return true;
}

void to_oneself()
{
    forget();
    wrmsr(apic::SELF_IPI, kLow);
    check(apic::requested(kLow) && taken == 0, "self-IPI waits while IF is clear");
    interrupts_for_a_moment();
    check_equal(count[kLow], 1, "self-IPI is taken");
    check(!apic::requested(kLow), "and not requested any more");
    wrmsr(apic::ICR, apic::kToSelf | kLow);
    interrupts_for_a_moment();
    check_equal(count[kLow], 2, "ICR with shorthand self");
    wrmsr(apic::ICR, apic::to(own_id()) | kLow);
    interrupts_for_a_moment();
    check_equal(count[kLow], 3, "ICR with one's own id");
    wrmsr(apic::SELF_IPI, kLow);
    wrmsr(apic::SELF_IPI, kLow);
    interrupts_for_a_moment();
    check_equal(count[kLow], 4, "two of one vector are one");
}

bool on_nested(Frame& frame)
{
    if (taken < 8)
        order[taken] = static_cast<unsigned>(frame.vector);
    taken = taken + 1;
    if (frame.vector == kLow) {
        wrmsr(apic::SELF_IPI, kLow + 1); // the same class: waits for EOI
        wrmsr(apic::SELF_IPI, kHigh);    // a higher one: at once
        interrupts_for_a_moment();
        check_equal(taken, 2, "only the higher class interrupts a handler");
        check_equal(rdmsr(apic::PPR), kLow & 0xf0u, "PPR shows the class in service");
    }
    apic::end_of_interrupt();
    return true;
}

void priorities()
{
    forget();
    wrmsr(apic::SELF_IPI, kLow);
    wrmsr(apic::SELF_IPI, kHigh);
    interrupts_for_a_moment();
    check(taken == 2 && order[0] == kHigh && order[1] == kLow, "the higher vector comes first");

    forget();
    wrmsr(apic::TPR, kLow & 0xf0u);
    wrmsr(apic::SELF_IPI, kLow);
    interrupts_for_a_moment();
    check_equal(taken, 0, "TPR holds its class back");
    interrupts_on();
    wrmsr(apic::TPR, 0);
    asm volatile("nop");
    interrupts_off();
    check_equal(taken, 1, "until it is lowered");

    forget();
    for (const unsigned vector : kNested)
        set_handler(vector, on_nested);
    wrmsr(apic::SELF_IPI, kLow);
    interrupts_for_a_moment();
    check(taken == 3 && order[0] == kLow && order[1] == kHigh && order[2] == kLow + 1,
          "handlers nest by class");
    for (const unsigned vector : kNested)
        set_handler(vector, on_interrupt);
}

void arm(u64 mode, u64 ticks)
{
    wrmsr(apic::TIMER_DIVIDE, apic::kDivideBy1);
    wrmsr(apic::LVT_TIMER, mode | kTimer);
    wrmsr(apic::TIMER_INITIAL, ticks);
}

void timer()
{
    forget();
    interrupts_on();
    arm(0, kTicks);
    check(eventually([] { return count[kTimer] != 0; }), "one-shot timer, in a loop");
    check_equal(rdmsr(apic::TIMER_CURRENT), 0, "and has run down");
    arm(apic::kPeriodic, kTicks);
    check(eventually([] { return count[kTimer] >= 6; }), "periodic timer");
    arm(0, 0);
    interrupts_off();

    forget();
    arm(apic::kMasked, kTicks);
    check(eventually([] { return rdmsr(apic::TIMER_CURRENT) == 0; }), "a masked timer runs down");
    interrupts_for_a_moment();
    check_equal(taken, 0, "and says nothing");

    arm(0, kTicks);
    while (count[kTimer] == 0)
        wait_for_interrupt();
    check_equal(count[kTimer], 1, "one-shot timer wakes HLT");
    arm(0, kTicks);
    check(eventually([] { return apic::requested(kTimer); }), "an expired timer waits for IF");
    wait_for_interrupt();
    check_equal(count[kTimer], 2, "and wakes HLT at once");
}

void deadline()
{
    forget();
    wrmsr(apic::LVT_TIMER, apic::kDeadline | kTimer);
    asm volatile("mfence" : : : "memory");
    const u64 far = rdtsc() + kPatience;
    wrmsr(apic::IA32_TSC_DEADLINE, far);
    check_equal(rdmsr(apic::IA32_TSC_DEADLINE), far, "TSC deadline reads back while armed");
    interrupts_on();
    for (unsigned i = 1; i <= 20; ++i) {
        wrmsr(apic::IA32_TSC_DEADLINE, rdtsc() + kTicks);
        while (count[kTimer] != i) {
            interrupts_off();
            if (count[kTimer] != i)
                wait_for_interrupt();
        }
        interrupts_on();
    }
    check_equal(rdmsr(apic::IA32_TSC_DEADLINE), 0, "TSC deadline disarms itself");
    wrmsr(apic::IA32_TSC_DEADLINE, 1);
    check(eventually([] { return count[kTimer] == 21; }), "a TSC deadline in the past expires at once");
    interrupts_off();
}

void non_maskable(bool td)
{
    wrmsr(apic::ICR, apic::to(own_id()) | apic::kNmi);
    check(eventually([] { return nmis == 2; }), "NMI is taken with IF clear");
    // In a TD the WRMSR above takes #VE, and the IRET of that handler is one too.
    check_equal(nmis_in_handler, td ? 2 : 1, "and blocks the next until IRET");
}

extern "C" char endless_loop[], endless_loop_end[];

bool leave_loop(Frame& frame)
{
    count[frame.vector] = count[frame.vector] + 1;
    if (frame.rip == reinterpret_cast<u64>(endless_loop))
        frame.rip = reinterpret_cast<u64>(endless_loop_end);
    apic::end_of_interrupt();
    return true;
}

u64 string_rip, string_left;

bool look_at_string(Frame& frame)
{
    count[frame.vector] = count[frame.vector] + 1;
    string_rip = frame.rip;
    string_left = frame.gpr(1);
    apic::end_of_interrupt();
    return true;
}

void in_loops()
{
    forget();
    set_handler(kTimer, leave_loop);
    interrupts_on();
    arm(0, kTicks);
    asm volatile("endless_loop: jmp endless_loop\n"
                 "endless_loop_end:");
    interrupts_off();
    check_equal(count[kTimer], 1, "an interrupt ends a jump to itself");

    // A string instruction that takes much longer than the timer: memory that is written twice is still
    // right.
    set_handler(kTimer, look_at_string);
    bool halfway = false;
    interrupts_on();
    for (unsigned attempt = 0; attempt < 100 && !halfway; ++attempt) {
        string_left = 0;
        arm(0, kTicks);
        u64 to = kArea, n = kBytes, here;
        asm volatile("lea 1f(%%rip), %2\n"
                     "1: rep stosb"
                     : "+D"(to), "+c"(n), "=&r"(here)
                     : "a"(attempt)
                     : "memory");
        halfway = string_left != 0 && string_left < kBytes && string_rip == here;
        if (to != kArea + kBytes || n != 0)
            break;
        const auto* area = reinterpret_cast<const u8*>(kArea);
        if (halfway)
            check(area[kBytes - 1] == attempt && area[kBytes - string_left] == attempt,
                  "and goes on behind it");
        (void)eventually([] { return count[kTimer] != 0; });
    }
    interrupts_off();
    check(halfway, "REP STOS is interrupted half way");
    set_handler(kTimer, on_interrupt);
}

bool on_call(Frame&)
{
    const u64 id = rdmsr(apic::ID);
    __atomic_fetch_add(&calls[id & 7], 1, __ATOMIC_SEQ_CST);
    apic::end_of_interrupt();
    wrmsr(apic::ICR, apic::to(0) | kAnswer);
    return true;
}

void between_processors()
{
    forget();
    u64 others = 0;
    const u64 start = rdtsc();
    while (rdtsc() - start < kPatience / 64) // those that there are come in this time
        others = vcpus;
    if (others == 0)
        return;
    interrupts_on();
    for (u64 round = 1; round <= 200; ++round)
        for (u32 id = 1; id <= others; ++id) {
            wrmsr(apic::ICR, apic::to(id) | kCall);
            if (!eventually([&] { return calls[id] == round; }))
                return check(false, "an IPI reaches its processor");
        }
    check(true, "IPIs to one processor after another");
    check(eventually([] { return count[kAnswer] > 0; }), "and their answers");
    wrmsr(apic::ICR, apic::kToOthers | kCall);
    bool all = true;
    for (u32 id = 1; id <= others; ++id)
        all = eventually([&] { return calls[id] == 201; }) && all;
    check(all, "an IPI to all others");
    check_equal(calls[0], 0, "is not to oneself");
    set_handler(kCall, on_call);
    wrmsr(apic::ICR, apic::kToAll | kCall);
    for (u32 id = 0; id <= others; ++id)
        all = eventually([&] { return calls[id] == (id == 0 ? 1u : 202u); }) && all;
    check(all, "an IPI to all");
    interrupts_off();
    done = true;
    wrmsr(apic::ICR, apic::kToOthers | kCall);
}

} // namespace

bool guest_main(const Machine& machine)
{
    apic::enable();
    for (const unsigned vector : kCounted)
        set_handler(vector, on_interrupt);
    set_handler(kCall, on_call);
    set_handler(kNmiVector, on_nmi);
    if (machine.td)
        check_equal(accept({.start = kArea, .size = kBytes}).failure, kSuccess, "memory is accepted");
    to_oneself();
    priorities();
    timer();
    deadline();
    non_maskable(machine.td);
    in_loops();
    between_processors();
    return failures() == 0;
}

} // namespace seamless::guest

void secondary_main(unsigned)
{
    using namespace seamless::guest;
    apic::enable();
    __atomic_fetch_add(&vcpus, 1, __ATOMIC_SEQ_CST);
    while (!done)
        wait_for_interrupt();
}
