// SPDX-License-Identifier: Apache-2.0
// What KVM offers its guests beside a PC: CPUID leaves, MSRs and the structures of kvmclock. KVM API: "KVM
// CPUID bits", "KVM-specific MSRs".
#pragma once

#include "base/bits.h"

namespace seamless::spec::kvm {

inline constexpr u32 KVM_CPUID_SIGNATURE = 0x40000000, KVM_CPUID_FEATURES = 0x40000001;

// Bit numbers in EAX of KVM_CPUID_FEATURES.
inline constexpr unsigned KVM_FEATURE_CLOCKSOURCE = 0, KVM_FEATURE_NOP_IO_DELAY = 1,
                          KVM_FEATURE_CLOCKSOURCE2 = 3, KVM_FEATURE_CLOCKSOURCE_STABLE_BIT = 24;

inline constexpr u32 MSR_KVM_WALL_CLOCK = 0x11, MSR_KVM_SYSTEM_TIME = 0x12,
                     MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00, MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
inline constexpr u64 KVM_MSR_ENABLED = 1;

inline constexpr u8 PVCLOCK_TSC_STABLE_BIT = 1, PVCLOCK_GUEST_STOPPED = 2;

// An odd version says that the host is writing.
struct pvclock_wall_clock {
    u32 version;
    u32 sec;
    u32 nsec;
};
static_assert(sizeof(pvclock_wall_clock) == 12);

// ns = system_time + (((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32)
struct pvclock_vcpu_time_info {
    u32 version;
    u32 pad0;
    u64 tsc_timestamp;
    u64 system_time;
    u32 tsc_to_system_mul;
    i8 tsc_shift;
    u8 flags;
    u8 pad[2];
};
static_assert(sizeof(pvclock_vcpu_time_info) == 32);

} // namespace seamless::spec::kvm
