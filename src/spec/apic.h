// SPDX-License-Identifier: Apache-2.0
// The local APIC: registers by their offset in the xAPIC page (an x2APIC MSR is 800H + offset / 16), and
// their fields. SDM volume 3: "Advanced Programmable Interrupt Controller (APIC)".
#pragma once

#include "base/bits.h"

namespace seamless::spec::apic {

inline constexpr u32 ID = 0x20, LVR = 0x30, TPR = 0x80, APR = 0x90, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0,
                     DFR = 0xe0, SPIV = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280,
                     LVT_CMCI = 0x2f0, ICR = 0x300, ICR2 = 0x310, LVT_TIMER = 0x320, LVT_THERMAL = 0x330,
                     LVT_PERFORMANCE = 0x340, LVT_LINT0 = 0x350, LVT_LINT1 = 0x360, LVT_ERROR = 0x370,
                     TMICT = 0x380, TMCCT = 0x390, TDCR = 0x3e0, SELF_IPI = 0x3f0;
inline constexpr u32 kPageBase = 0xfee00000;

inline constexpr u32 LVT_MASKED = 1u << 16, SPIV_ENABLED = 1u << 8, LVR_DIRECTED_EOI = 1u << 24;
inline constexpr u32 ICR_LOGICAL = 1u << 11, ICR_BUSY = 1u << 12, ICR_ASSERT = 1u << 14, ICR_LEVEL = 1u << 15;
// x2APIC: #GP if one of these is written.
inline constexpr u64 kX2apicIcrReserved = bits(31, 20) | bits(17, 16) | bit(13);

// IA32_APIC_BASE.
inline constexpr u64 BASE_BSP = bit(8), BASE_X2APIC = bit(10), BASE_ENABLE = bit(11);

enum class DeliveryMode : u8 { fixed, lowest_priority, smi, remote_read, nmi, init, startup, ext_int };
enum class Shorthand : u8 { none, self, all, others };
enum class TimerMode : u8 { one_shot, periodic, tsc_deadline, reserved };

} // namespace seamless::spec::apic
