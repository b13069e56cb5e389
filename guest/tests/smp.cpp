// SPDX-License-Identifier: Apache-2.0
// Several processors on the same lines, page tables and code: no lost update, and nothing stale behind the
// event that ends it.
#include <cstddef>

#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/tdx.h"
#include "guest/tests/apic.h"

extern "C" {
extern seamless::u64 page_tables[];
seamless::u64 patched_function();
extern volatile seamless::u32 patched_value;
extern const char patched_end[];
}

// Returns a number that the tests change while others call it. Aligned, so that the store is one.
asm(R"(
    .section .text.patched, "ax"
    .balign 64
    .skip 3
patched_function:
    .byte 0xb8                     # mov eax, imm32
    .globl patched_value
patched_value:
    .long 0
    ret
    .globl patched_end
patched_end:
    .text
)");

namespace seamless::guest {
namespace {

// How often each does what it does: set to run for an hour.
#ifndef SEAMLESS_HAMMER
#    define SEAMLESS_HAMMER 1
#endif
constexpr u64 kLonger = SEAMLESS_HAMMER;

constexpr unsigned kFlush = 40, kSync = 41;
constexpr u64 kPageBytes = 4096;
constexpr u64 kFrozen = bit(32);
constexpr u64 kPatience = u64{60} << 30;
constexpr u64 kWindow = u64{255} << 30; // linear addresses no one else uses
constexpr u64 kPresent = 1, kWritable = 2, kAccessed = 0x20, kDirty = 0x40;

volatile u64 roster; // how many take part, and whether it is too late
volatile u64 all;    // processors
u64 directory[512] __attribute__((aligned(4096)));
u64 table[512] __attribute__((aligned(4096)));
u8 frames[4][kPageBytes] __attribute__((aligned(4096)));
volatile u64 acknowledged;
volatile u64 published;
volatile bool stop;
volatile u64 errors;
volatile u64 progress[8];
volatile u64 write_faults[8];
volatile u64 barrier_count, barrier_round;

u64 load(const volatile u64& from) { return __atomic_load_n(&from, __ATOMIC_SEQ_CST); }
void store(volatile u64& to, u64 value) { __atomic_store_n(&to, value, __ATOMIC_SEQ_CST); }
void add(volatile u64& to, u64 value) { __atomic_fetch_add(&to, value, __ATOMIC_SEQ_CST); }

void barrier()
{
    const u64 round = load(barrier_round);
    if (__atomic_add_fetch(&barrier_count, 1, __ATOMIC_SEQ_CST) == all) {
        store(barrier_count, 0);
        store(barrier_round, round + 1);
    }
    while (load(barrier_round) == round)
        pause();
}

u64 address_of(const void* object) { return reinterpret_cast<u64>(object); }
volatile u64& window(unsigned page, u64 offset = 0)
{
    return *reinterpret_cast<volatile u64*>(kWindow + page * kPageBytes + offset);
}

// --- LOCK ---------------------------------------------------------------------------------------------

struct alignas(64) Counters {
    u64 aligned;
    u64 bits;
    u8 line[128];
    u64 wide[2] __attribute__((aligned(16)));
    u64 turns;
};
Counters counters;
constexpr u64 kRounds = 20'000 * kLonger, kRareRounds = 1'000 * kLonger;

u64* unaligned(u64 at) { return reinterpret_cast<u64*>(at); }

void locked_add(u64* at) { asm volatile("lock addq $1, %0" : "+m"(*at) : : "memory", "cc"); }

// Compare-and-exchange of 16 bytes: low half + 1, high half + 3.
void add_wide(u64 (&pair)[2])
{
    for (;;) {
        const u64 low = pair[0], high = pair[1];
        u64 a = low, d = high;
        bool done;
        asm volatile("lock cmpxchg16b %0"
                     : "+m"(pair), "+a"(a), "+d"(d), "=@ccz"(done)
                     : "b"(low + 1), "c"(high + 3)
                     : "memory");
        if (done)
            return;
    }
}

void on_same_lines(unsigned)
{
    u64 taken = 0;
    for (u64 i = 0; i < kRounds; ++i) {
        locked_add(&counters.aligned);
        locked_add(unaligned(address_of(counters.line) + 60)); // two cache lines
        add_wide(counters.wide);
        bool was;
        asm volatile("lock btsq $5, %0" : "+m"(counters.bits), "=@ccc"(was) : : "memory");
        if (!was) { // a lock: what is counted under it needs no LOCK
            ++counters.turns;
            ++taken;
            asm volatile("lock btrq $5, %0" : "+m"(counters.bits) : : "memory", "cc");
        }
    }
    add(published, taken);
}

// Pages 0 and 1 of the window are neighbours in neither the guest's nor the host's memory.
void across_pages(unsigned)
{
    auto* at = unaligned(kWindow + kPageBytes - 3);
    for (u64 i = 0; i < kRareRounds; ++i) {
        locked_add(at);
        u64 one = 0x100000000;
        asm volatile("lock xaddq %1, %0" : "+m"(*at), "+r"(one) : : "memory", "cc");
    }
}

// --- page tables --------------------------------------------------------------------------------------

void map(unsigned page, const void* frame, u64 flags) { store(table[page], address_of(frame) | flags); }

bool on_flush(Frame&)
{
    for (unsigned page = 0; page < 4; ++page)
        invlpg(kWindow + page * kPageBytes);
    add(acknowledged, 1);
    apic::end_of_interrupt();
    return true;
}

// Returns when no processor can use what the tables said before.
void shoot_down()
{
    store(acknowledged, 0);
    wrmsr(apic::ICR, apic::kToOthers | kFlush);
    for (unsigned page = 0; page < 4; ++page)
        invlpg(kWindow + page * kPageBytes);
    while (load(acknowledged) != all - 1)
        pause();
}

// Number 0 lets page 2 show frames in turn, each with a larger number; the others may see what is published
// or newer.
void remap(unsigned self)
{
    constexpr u64 kGenerations = 100 * kLonger;
    if (self != 0) {
        interrupts_on();
        while (!stop) {
            const u64 least = load(published);
            if (window(2, self * 64) < least)
                add(errors, 1);
            progress[self] = progress[self] + 1;
        }
        interrupts_off();
        return;
    }
    for (u64 g = 1; g <= kGenerations; ++g) {
        u8* frame = frames[g & 1];
        for (u64 offset = 0; offset < kPageBytes; offset += 64)
            store(*reinterpret_cast<volatile u64*>(frame + offset), g);
        map(2, frame, kPresent | kWritable);
        shoot_down();
        store(published, g);
    }
    stop = true;
}

bool on_page_fault(Frame& frame)
{
    const u64 id = rdmsr(apic::ID);
    write_faults[id & 7] = write_faults[id & 7] + 1;
    frame.rip += 3; // mov %reg, (%reg)
    return true;
}

// Number 0 takes the right to write away and looks that nothing is written any more; the others write all the
// time.
void write_protect(unsigned self)
{
    if (self != 0) {
        interrupts_on();
        u64 value = 0;
        while (!stop) {
            ++value;
            asm volatile("movq %0, (%1)"
                         :
                         : "r"(value), "r"(kWindow + 3 * kPageBytes + self * 64)
                         : "memory");
            progress[self] = progress[self] + 1;
        }
        interrupts_off();
        return;
    }
    u64 unmarked = 0;
    for (unsigned round = 0; round < 40 * kLonger; ++round) {
        map(3, frames[3], kPresent);
        shoot_down();
        u64 before[8];
        for (unsigned i = 1; i < all; ++i)
            before[i] = load(*reinterpret_cast<volatile u64*>(frames[3] + i * 64));
        for (unsigned i = 0; i < 200; ++i)
            pause();
        for (unsigned i = 1; i < all; ++i)
            if (load(*reinterpret_cast<volatile u64*>(frames[3] + i * 64)) != before[i])
                add(errors, 1);
        map(3, frames[3], kPresent | kWritable); // neither accessed nor dirty
        shoot_down();
        const u64 value = load(*reinterpret_cast<volatile u64*>(frames[3] + 64));
        for (u64 i = 0; i < 1'000'000 && load(*reinterpret_cast<volatile u64*>(frames[3] + 64)) == value; ++i)
            pause();
        unmarked += (load(table[3]) & (kAccessed | kDirty)) != (kAccessed | kDirty);
    }
    stop = true;
    check_equal(unmarked, 0, "a write after the shootdown sets accessed and dirty again");
}

// --- code ---------------------------------------------------------------------------------------------

bool on_sync(Frame&)
{
    add(acknowledged, 1); // IRET serializes
    apic::end_of_interrupt();
    return true;
}

// Number 0 changes an instruction that the others execute all the time. Behind an IPI they must see it.
void patch(unsigned self)
{
    if (self != 0) {
        interrupts_on();
        u64 last = 0;
        while (!stop) {
            const u64 least = load(published);
            const u64 value = patched_function();
            if (value < least || value < last)
                add(errors, 1);
            last = value;
            progress[self] = progress[self] + 1;
        }
        interrupts_off();
        return;
    }
    for (u32 g = 1; g <= 100 * kLonger; ++g) {
        patched_value = g;
        store(acknowledged, 0);
        wrmsr(apic::ICR, apic::kToOthers | kSync);
        while (load(acknowledged) != all - 1)
            pause();
        store(published, g);
        if (patched_function() != g)
            add(errors, 1);
    }
    stop = true;
}

// --- all together -------------------------------------------------------------------------------------

struct Test {
    void (*run)(unsigned self);
    void (*prepare)();
    void (*judge)();
};

void nothing() {}

void judge_lines()
{
    check_equal(counters.aligned, all * kRounds, "LOCK ADD");
    check_equal(*unaligned(address_of(counters.line) + 60), all * kRounds, "LOCK ADD over two cache lines");
    check(counters.wide[0] == all * kRounds && counters.wide[1] == 3 * all * kRounds, "LOCK CMPXCHG16B");
    check_equal(counters.turns, load(published), "what a LOCK BTS protects");
}

void map_apart()
{
    map(0, frames[2], kPresent | kWritable);
    map(1, frames[0], kPresent | kWritable);
}

void judge_across()
{
    check_equal(*unaligned(kWindow + kPageBytes - 3), all * kRareRounds * 0x100000001, "LOCK over two pages");
}

void map_first()
{
    for (u64 offset = 0; offset < kPageBytes; offset += 8)
        *reinterpret_cast<volatile u64*>(frames[0] + offset) = 0;
    map(2, frames[0], kPresent | kWritable);
}

void judge_remap() { check_equal(errors, 0, "nothing stale behind a TLB shootdown"); }

void map_writable() { map(3, frames[3], kPresent | kWritable); }

void judge_protect()
{
    check_equal(errors, 0, "no write behind the shootdown that forbids it");
    u64 faults = 0;
    for (unsigned i = 1; i < all; ++i)
        faults += write_faults[i];
    check(faults != 0, "and the writers notice");
}

void judge_patch() { check_equal(errors, 0, "changed code is executed behind a serializing event"); }

constexpr Test kTests[] = {
    {.run = on_same_lines, .prepare = nothing, .judge = judge_lines},
    {.run = across_pages, .prepare = map_apart, .judge = judge_across},
    {.run = remap, .prepare = map_first, .judge = judge_remap},
    {.run = write_protect, .prepare = map_writable, .judge = judge_protect},
    {.run = patch, .prepare = nothing, .judge = judge_patch},
};

void take_part(unsigned self)
{
    for (const Test& test : kTests) {
        if (self == 0) {
            stop = false;
            errors = 0;
            store(published, 0);
            test.prepare();
        }
        barrier();
        test.run(self);
        barrier();
        if (self == 0)
            test.judge();
    }
}

void map_window()
{
    u64* pointers = page_tables + 512;
    pointers[kWindow >> 30 & 511] = address_of(directory) | kPresent | kWritable;
    directory[0] = address_of(table) | kPresent | kWritable;
}

} // namespace

bool guest_main(const Machine& machine)
{
    apic::enable();
    set_handler(kFlush, on_flush);
    set_handler(kSync, on_sync);
    set_handler(kPageFault, on_page_fault);
    map_window();
    // SDM: CPUID leaf 0BH, level 1: the processors of the package.
    const u64 expected = machine.td ? td_info().vcpus : cpuid(0xb, 1).ebx & 0xffff;
    for (const u64 start = rdtsc(); load(roster) + 1 < expected && rdtsc() - start < kPatience;)
        pause();
    all = (__atomic_fetch_or(&roster, kFrozen, __ATOMIC_SEQ_CST) & 0xff) + 1;
    print("processors ", Dec{all}, "\n");
    check(all > 1, "more than one processor");
    if (all > 1)
        take_part(0);
    return failures() == 0;
}

} // namespace seamless::guest

void secondary_main(unsigned self)
{
    using namespace seamless::guest;
    apic::enable();
    for (seamless::u64 seen = load(roster);;) {
        if (seen & kFrozen)
            return;
        if (__atomic_compare_exchange_n(&roster, &seen, seen + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            break;
    }
    while (!(load(roster) & kFrozen))
        pause();
    while (all == 0)
        pause();
    take_part(self);
}
