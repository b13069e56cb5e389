// SPDX-License-Identifier: Apache-2.0
// Accesses to device registers, each by one instruction that is written out.
#include "guest/firmware/registers.h"

#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/ve.h"
#include "guest/firmware/x86.h"

namespace seamless::guest {
namespace {

constexpr u64 kPattern = 0x8877665544332211;
constexpr u64 kBefore = 0xa5a5a5a5a5a5a5a5;

void check_sizes(u64 at)
{
    store64(at, kPattern);
    check_equal(load64(at), kPattern, "mov, 8 bytes");
    check_equal(load32(at, kBefore), 0x44332211, "mov, 4 bytes: the upper half is cleared");
    check_equal(load16(at, kBefore), with_field(kBefore, 15, 0, 0x2211), "mov, 2 bytes: the rest is kept");
    check_equal(load8(at, kBefore), with_field(kBefore, 7, 0, 0x11), "mov, 1 byte: the rest is kept");
    check_equal(load32(at + 4), 0x88776655, "mov, 4 bytes, upper half");
    check_equal(load8(at + 7), 0x88, "mov, 1 byte, last");

    store32(at + 8, 0xdeadbeef);
    check_equal(load32(at + 8), 0xdeadbeef, "mov to memory, 4 bytes");
    store16(at + 8, 0x1234);
    check_equal(load32(at + 8), 0xdead1234, "mov to memory, 2 bytes");
    store8(at + 9, 0x56);
    check_equal(load32(at + 8), 0xdead5634, "mov to memory, 1 byte");
}

void check_high_byte(u64 at)
{
    u64 value = kBefore;
    asm volatile("movb (%1), %h0" : "+a"(value) : "r"(at) : "memory");
    check_equal(value, with_field(kBefore, 15, 8, 0x11), "mov to AH");
    value = 0x7e00;
    asm volatile("movb %h0, (%1)" : : "a"(value), "r"(at + 16) : "memory");
    check_equal(load8(at + 16), 0x7e, "mov from AH");
    value = kBefore;
    asm volatile("movq %1, %%rsi; movb (%%rsi), %%sil; movq %%rsi, %0"
                 : "=r"(value)
                 : "r"(at)
                 : "rsi", "memory");
    check_equal(value, with_field(at, 7, 0, 0x11), "mov to SIL, which a REX prefix selects");
}

void check_immediates(u64 at)
{
    asm volatile("movb $0x5a, (%0)" : : "r"(at + 24) : "memory");
    check_equal(load8(at + 24), 0x5a, "mov immediate, 1 byte");
    asm volatile("movw $0x1357, (%0)" : : "r"(at + 24) : "memory");
    check_equal(load16(at + 24), 0x1357, "mov immediate, 2 bytes");
    asm volatile("movl $0x89abcdef, 4(%0)" : : "r"(at + 20) : "memory");
    check_equal(load32(at + 24), 0x89abcdef, "mov immediate, 4 bytes");
    asm volatile("movq $-2, (%0)" : : "r"(at + 24) : "memory");
    check_equal(load64(at + 24), ~u64{1}, "mov immediate, 8 bytes: sign-extended");
}

void check_extensions(u64 at)
{
    store64(at + 32, 0x00000000'0000ff80);
    u64 value = kBefore;
    asm volatile("movzbl (%1), %k0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, 0x80, "movzx, 1 to 4 bytes");
    value = kBefore;
    asm volatile("movzbw (%1), %w0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, with_field(kBefore, 15, 0, 0x80), "movzx, 1 to 2 bytes");
    value = kBefore;
    asm volatile("movzwq (%1), %0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, 0xff80, "movzx, 2 to 8 bytes");
    value = kBefore;
    asm volatile("movsbl (%1), %k0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, 0xffffff80, "movsx, 1 to 4 bytes");
    value = kBefore;
    asm volatile("movswq (%1), %0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, 0xffffffff'ffffff80, "movsx, 2 to 8 bytes");
    value = kBefore;
    asm volatile("movsbw (%1), %w0" : "+r"(value) : "r"(at + 32) : "memory");
    check_equal(value, with_field(kBefore, 15, 0, 0xff80), "movsx, 1 to 2 bytes");
}

void check_addressing(u64 at)
{
    u64 value;
    asm volatile("movq (%1, %2, 8), %0" : "=r"(value) : "r"(at - 64), "r"(u64{8}) : "memory");
    check_equal(value, kPattern, "base, index and scale");
    asm volatile("movq -0x1000(%1), %0" : "=r"(value) : "r"(at + 0x1000) : "memory");
    check_equal(value, kPattern, "displacement of 4 bytes");
    asm volatile("movq -1(%1), %0" : "=r"(value) : "r"(at + 1) : "memory");
    check_equal(value, kPattern, "displacement of 1 byte");
    asm volatile("movq %1, %%r12; movq (%%r12), %0" : "=r"(value) : "r"(at) : "r12", "memory");
    check_equal(value, kPattern, "R12 as base, which needs a SIB byte");
}

} // namespace

Timings time_accesses(u64 page)
{
    constexpr u64 kLater = 16;
    Timings t;
    const u64 ve_before = ve_count();
    const u64 t0 = rdtsc();
    store64(page, kPattern);
    const u64 t1 = rdtsc();
    const u64 value = load64(page);
    const u64 t2 = rdtsc();
    t.values_good = value == kPattern;
    for (u64 i = 0; i < kLater; ++i)
        t.values_good &= load32(page + 4) == kPattern >> 32;
    const u64 t3 = rdtsc();
    t.first = t1 - t0;
    t.second = t2 - t1;
    t.later = (t3 - t2) / kLater;
    t.accesses = 2 + kLater;
    t.exceptions = ve_count() - ve_before;
    return t;
}

void check_registers(u64 at)
{
    check_sizes(at);
    check_high_byte(at);
    check_immediates(at);
    check_extensions(at);
    check_addressing(at);
}

} // namespace seamless::guest
