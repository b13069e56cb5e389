// SPDX-License-Identifier: Apache-2.0
// The local APIC in x2APIC mode, as the tests use it. SDM: "Extended XAPIC (x2APIC)".
#pragma once

#include "guest/firmware/x86.h"

namespace seamless::guest::apic {

enum Msr : u32 {
    IA32_APIC_BASE = 0x1b,
    IA32_TSC_DEADLINE = 0x6e0,
    ID = 0x802,
    TPR = 0x808,
    PPR = 0x80a,
    EOI = 0x80b,
    SVR = 0x80f,
    ISR = 0x810, // eight registers of 32 vectors, as IRR
    IRR = 0x820,
    ICR = 0x830,
    LVT_TIMER = 0x832,
    TIMER_INITIAL = 0x838,
    TIMER_CURRENT = 0x839,
    TIMER_DIVIDE = 0x83e,
    SELF_IPI = 0x83f,
};

inline constexpr u64 kBaseX2apic = bit(10);
inline constexpr u64 kBaseEnable = bit(11);
inline constexpr u64 kSoftwareEnable = bit(8);
inline constexpr u64 kSpuriousVector = 63;
inline constexpr u64 kMasked = bit(16);
inline constexpr u64 kPeriodic = 1u << 17;
inline constexpr u64 kDeadline = 2u << 17;
inline constexpr u64 kDivideBy1 = 0xb;

inline constexpr u64 kToSelf = 1u << 18;
inline constexpr u64 kToAll = 2u << 18;
inline constexpr u64 kToOthers = 3u << 18;
inline constexpr u64 kNmi = 4u << 8;
inline constexpr u64 to(u32 id) { return u64{id} << 32; }

inline void enable()
{
    const u64 base = rdmsr(IA32_APIC_BASE);
    if ((base & (kBaseX2apic | kBaseEnable)) != (kBaseX2apic | kBaseEnable))
        wrmsr(IA32_APIC_BASE, base | kBaseX2apic | kBaseEnable);
    wrmsr(SVR, kSoftwareEnable | kSpuriousVector);
    wrmsr(TPR, 0);
}

inline void end_of_interrupt() { wrmsr(EOI, 0); }
inline bool requested(unsigned vector) { return test(rdmsr(IRR + vector / 32), vector % 32); }

} // namespace seamless::guest::apic

namespace seamless::guest {

inline void interrupts_on() { asm volatile("sti" : : : "memory"); }
inline void interrupts_off() { asm volatile("cli" : : : "memory"); }
// What is pending is taken before the second instruction behind STI.
inline void interrupts_for_a_moment() { asm volatile("sti; nop; nop; cli" : : : "memory"); }
// STI's shadow covers HLT: an interrupt that comes between the two still wakes it.
inline void wait_for_interrupt() { asm volatile("sti; hlt; cli" : : : "memory"); }
inline void pause() { asm volatile("pause" : : : "memory"); }

} // namespace seamless::guest
