// SPDX-License-Identifier: Apache-2.0
// Interrupts in the KVM API: routing, irqfd, interrupt lines, the local APIC's page, coalesced MMIO, MSR
// filters. KVM API: "KVM_SET_GSI_ROUTING", "KVM_IRQFD", "KVM_GET_LAPIC", "KVM_REGISTER_COALESCED_MMIO",
// "KVM_X86_SET_MSR_FILTER".
#pragma once

#include <array>

#include "base/bits.h"

namespace seamless::spec::kvm {

inline constexpr u32 KVM_MAX_IRQ_ROUTES = 4096;
inline constexpr u32 KVM_IRQ_ROUTING_IRQCHIP = 1, KVM_IRQ_ROUTING_MSI = 2;
inline constexpr u32 KVM_MSI_VALID_DEVID = 1;

struct kvm_irq_routing_entry {
    u32 gsi;
    u32 type;
    u32 flags;
    u32 pad;
    union {
        struct {
            u32 irqchip;
            u32 pin;
        } irqchip;
        struct {
            u32 address_lo;
            u32 address_hi;
            u32 data;
            u32 devid;
        } msi;
        u32 padding[8];
    } u;
};
static_assert(sizeof(kvm_irq_routing_entry) == 48);

struct kvm_irq_routing { // entries follow
    u32 nr;
    u32 flags;
};

struct kvm_irq_level {
    u32 irq; // out, in KVM_IRQ_LINE_STATUS: the status
    u32 level;
};

inline constexpr u32 KVM_IRQFD_FLAG_DEASSIGN = 1, KVM_IRQFD_FLAG_RESAMPLE = 2;
struct kvm_irqfd {
    u32 fd;
    u32 gsi;
    u32 flags;
    u32 resamplefd;
    u8 pad[16];
};
static_assert(sizeof(kvm_irqfd) == 32);

// The xAPIC register page, its first KiB.
struct kvm_lapic_state {
    std::array<u8, 1024> regs;
};

inline constexpr u64 KVM_X2APIC_API_USE_32BIT_IDS = 1, KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK = 2;

struct kvm_coalesced_mmio_zone {
    u64 addr;
    u32 size;
    u32 pio;
};
static_assert(sizeof(kvm_coalesced_mmio_zone) == 16);

struct kvm_coalesced_mmio {
    u64 phys_addr;
    u32 len;
    u32 pio;
    u8 data[8];
};
static_assert(sizeof(kvm_coalesced_mmio) == 24);

struct kvm_coalesced_mmio_ring { // entries follow
    u32 first;                   // the VMM's: next to read
    u32 last;                    // KVM's: next to write
};
inline constexpr u32 KVM_COALESCED_MMIO_MAX =
    (4096 - sizeof(kvm_coalesced_mmio_ring)) / sizeof(kvm_coalesced_mmio);
static_assert(KVM_COALESCED_MMIO_MAX == 170);

inline constexpr u32 KVM_MSR_FILTER_READ = 1, KVM_MSR_FILTER_WRITE = 2;
inline constexpr u32 KVM_MSR_FILTER_DEFAULT_DENY = 1;
inline constexpr u32 KVM_MSR_FILTER_MAX_BITMAP_SIZE = 0x600; // bytes
struct kvm_msr_filter_range {
    u32 flags;
    u32 nmsrs;
    u32 base;
    u32 pad;
    u64 bitmap; // a pointer; bit set: allowed
};
struct kvm_msr_filter {
    u32 flags;
    u32 pad;
    kvm_msr_filter_range ranges[16];
};
static_assert(sizeof(kvm_msr_filter) == 0x188);

// KVM_GET_VCPU_EVENTS and KVM_SET_VCPU_EVENTS.
inline constexpr u32 KVM_VCPUEVENT_VALID_NMI_PENDING = 1, KVM_VCPUEVENT_VALID_SIPI_VECTOR = 2,
                     KVM_VCPUEVENT_VALID_SHADOW = 4, KVM_VCPUEVENT_VALID_SMM = 8,
                     KVM_VCPUEVENT_VALID_PAYLOAD = 16, KVM_VCPUEVENT_VALID_TRIPLE_FAULT = 32;
inline constexpr u8 KVM_X86_SHADOW_INT_MOV_SS = 1, KVM_X86_SHADOW_INT_STI = 2;

inline constexpr u32 KVM_CLOCK_TSC_STABLE = 2, KVM_CLOCK_REALTIME = 4, KVM_CLOCK_HOST_TSC = 8;
struct kvm_clock_data {
    u64 clock;
    u32 flags;
    u32 pad0;
    u64 realtime;
    u64 host_tsc;
    u32 pad[4];
};
static_assert(sizeof(kvm_clock_data) == 48);

} // namespace seamless::spec::kvm
