// SPDX-License-Identifier: Apache-2.0
// The KVM API as numbers and layouts: ioctls, capabilities, memory structures. KVM API: "The Definitive KVM
// API Documentation". Names are KVM's own; kvm_abi_run.h has the exits, kvm_abi_x86.h the registers, TDX
// included.
#pragma once

#include "base/bits.h"
#include "spec/kvm_abi_irq.h"
#include "spec/kvm_abi_run.h"
#include "spec/kvm_abi_x86.h"

namespace seamless::spec::kvm {

inline constexpr u32 KVM_API_VERSION = 12;
inline constexpr u32 kVcpuMmapSize = 12288; // kvm_run, PIO data, coalesced ring
inline constexpr u32 KVM_PIO_PAGE_OFFSET = 1;
inline constexpr u32 KVM_COALESCED_MMIO_PAGE_OFFSET = 2;

// clang-format off
// System fd.
inline constexpr u32 KVM_GET_API_VERSION = 0xae00, KVM_CREATE_VM = 0xae01, KVM_CHECK_EXTENSION = 0xae03,
                     KVM_GET_VCPU_MMAP_SIZE = 0xae04, KVM_GET_SUPPORTED_CPUID = 0xc008ae05,
                     KVM_GET_EMULATED_CPUID = 0xc008ae09, KVM_GET_MSR_INDEX_LIST = 0xc004ae02,
                     KVM_GET_MSR_FEATURE_INDEX_LIST = 0xc004ae0a, KVM_X86_GET_MCE_CAP_SUPPORTED = 0x8008ae9d;
// VM fd.
inline constexpr u32 KVM_CREATE_VCPU = 0xae41, KVM_GET_DIRTY_LOG = 0x4010ae42, KVM_SET_NR_MMU_PAGES = 0xae44,
                     KVM_SET_USER_MEMORY_REGION = 0x4020ae46, KVM_SET_TSS_ADDR = 0xae47,
                     KVM_SET_IDENTITY_MAP_ADDR = 0x4008ae48, KVM_SET_USER_MEMORY_REGION2 = 0x40a0ae49,
                     KVM_CREATE_IRQCHIP = 0xae60, KVM_GET_IRQCHIP = 0xc208ae62, KVM_SET_IRQCHIP = 0x8208ae63, KVM_IRQ_LINE = 0x4008ae61, KVM_IRQ_LINE_STATUS = 0xc008ae67, KVM_REGISTER_COALESCED_MMIO = 0x4010ae67,
                     KVM_UNREGISTER_COALESCED_MMIO = 0x4010ae68, KVM_SET_GSI_ROUTING = 0x4008ae6a,
                     KVM_IRQFD = 0x4020ae76, KVM_CREATE_PIT2 = 0x4040ae77, KVM_SET_BOOT_CPU_ID = 0xae78,
                     KVM_IOEVENTFD = 0x4040ae79, KVM_CLEAR_DIRTY_LOG = 0xc018aec0, KVM_SET_CLOCK = 0x4030ae7b, KVM_GET_CLOCK = 0x8030ae7c,
                     KVM_SET_TSC_KHZ = 0xaea2, KVM_GET_TSC_KHZ = 0xaea3, KVM_ENABLE_CAP = 0x4068aea3,
                     KVM_SIGNAL_MSI = 0x4020aea5, KVM_MEMORY_ENCRYPT_OP = 0xc008aeba,
                     KVM_MEMORY_ENCRYPT_REG_REGION = 0x8010aebb, KVM_MEMORY_ENCRYPT_UNREG_REGION = 0x8010aebc,
                     KVM_X86_SET_MSR_FILTER = 0x4188aec6, KVM_SET_MEMORY_ATTRIBUTES = 0x4020aed2,
                     KVM_CREATE_GUEST_MEMFD = 0xc040aed4, KVM_CREATE_DEVICE = 0xc00caee0;
// vCPU fd.
inline constexpr u32 KVM_RUN = 0xae80, KVM_GET_REGS = 0x8090ae81, KVM_SET_REGS = 0x4090ae82,
                     KVM_GET_SREGS = 0x8138ae83, KVM_SET_SREGS = 0x4138ae84, KVM_TRANSLATE = 0xc018ae85,
                     KVM_INTERRUPT = 0x4004ae86, KVM_GET_MSRS = 0xc008ae88, KVM_SET_MSRS = 0x4008ae89,
                     KVM_SET_CPUID = 0x4008ae8a, KVM_SET_SIGNAL_MASK = 0x4004ae8b, KVM_GET_FPU = 0x81a0ae8c,
                     KVM_SET_FPU = 0x41a0ae8d, KVM_GET_LAPIC = 0x8400ae8e, KVM_SET_LAPIC = 0x4400ae8f,
                     KVM_SET_CPUID2 = 0x4008ae90, KVM_GET_CPUID2 = 0xc008ae91, KVM_GET_MP_STATE = 0x8004ae98,
                     KVM_SET_MP_STATE = 0x4004ae99, KVM_TPR_ACCESS_REPORTING = 0xc028ae92, KVM_SET_VAPIC_ADDR = 0x4008ae93, KVM_X86_SETUP_MCE = 0x4008ae9c, KVM_NMI = 0xae9a, KVM_SET_GUEST_DEBUG = 0x4048ae9b,
                     KVM_GET_VCPU_EVENTS = 0x8040ae9f, KVM_SET_VCPU_EVENTS = 0x4040aea0,
                     KVM_GET_DEBUGREGS = 0x8080aea1, KVM_SET_DEBUGREGS = 0x4080aea2, KVM_GET_XSAVE = 0x9000aea4,
                     KVM_SET_XSAVE = 0x5000aea5, KVM_GET_XCRS = 0x8188aea6, KVM_SET_XCRS = 0x4188aea7,
                     KVM_KVMCLOCK_CTRL = 0xaead, KVM_SMI = 0xaeb7, KVM_GET_SREGS2 = 0x8140aecc,
                     KVM_SET_SREGS2 = 0x4140aecd, KVM_GET_XSAVE2 = 0x9000aecf, KVM_PRE_FAULT_MEMORY = 0xc040aed5;

// VM types of KVM_CREATE_VM.
inline constexpr u64 KVM_X86_DEFAULT_VM = 0, KVM_X86_SW_PROTECTED_VM = 1, KVM_X86_TDX_VM = 5;

inline constexpr u32 KVM_CAP_IRQCHIP = 0, KVM_CAP_HLT = 1, KVM_CAP_USER_MEMORY = 3, KVM_CAP_SET_TSS_ADDR = 4,
                     KVM_CAP_EXT_CPUID = 7, KVM_CAP_NR_VCPUS = 9, KVM_CAP_NR_MEMSLOTS = 10, KVM_CAP_MP_STATE = 14,
                     KVM_CAP_COALESCED_MMIO = 15, KVM_CAP_SET_GUEST_DEBUG = 23, KVM_CAP_SYNC_MMU = 16, KVM_CAP_DESTROY_MEMORY_REGION_WORKS = 21,
                     KVM_CAP_USER_NMI = 22, KVM_CAP_IRQ_ROUTING = 25, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS = 30,
                     KVM_CAP_MCE = 31, KVM_CAP_IRQFD = 32, KVM_CAP_PIT2 = 33, KVM_CAP_SET_BOOT_CPU_ID = 34,
                     KVM_CAP_IOEVENTFD = 36, KVM_CAP_SET_IDENTITY_MAP_ADDR = 37, KVM_CAP_ADJUST_CLOCK = 39,
                     KVM_CAP_INTERNAL_ERROR_DATA = 40, KVM_CAP_VCPU_EVENTS = 41, KVM_CAP_DEBUGREGS = 50,
                     KVM_CAP_X86_ROBUST_SINGLESTEP = 51, KVM_CAP_ENABLE_CAP = 54, KVM_CAP_XSAVE = 55,
                     KVM_CAP_XCRS = 56, KVM_CAP_TSC_CONTROL = 60, KVM_CAP_GET_TSC_KHZ = 61, KVM_CAP_MAX_VCPUS = 66,
                     KVM_CAP_TSC_DEADLINE_TIMER = 72, KVM_CAP_SYNC_REGS = 74, KVM_CAP_KVMCLOCK_CTRL = 76, KVM_CAP_SIGNAL_MSI = 77, KVM_CAP_IRQFD_RESAMPLE = 82,
                     KVM_CAP_READONLY_MEM = 81, KVM_CAP_ENABLE_CAP_VM = 98, KVM_CAP_IOEVENTFD_NO_LENGTH = 100,
                     KVM_CAP_CHECK_EXTENSION_VM = 105, KVM_CAP_DISABLE_QUIRKS = 116, KVM_CAP_X86_SMM = 117,
                     KVM_CAP_MULTI_ADDRESS_SPACE = 118, KVM_CAP_SPLIT_IRQCHIP = 121,
                     KVM_CAP_IOEVENTFD_ANY_LENGTH = 122, KVM_CAP_MAX_VCPU_ID = 128, KVM_CAP_X2APIC_API = 129,
                     KVM_CAP_IMMEDIATE_EXIT = 136, KVM_CAP_X86_DISABLE_EXITS = 143, KVM_CAP_GET_MSR_FEATURES = 153,
                     KVM_CAP_COALESCED_PIO = 162, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = 168, KVM_CAP_EXCEPTION_PAYLOAD = 164, KVM_CAP_HALT_POLL = 182,
                     KVM_CAP_X86_USER_SPACE_MSR = 188, KVM_CAP_X86_MSR_FILTER = 189, KVM_CAP_ENFORCE_PV_FEATURE_CPUID = 190, KVM_CAP_SET_GUEST_DEBUG2 = 195, KVM_CAP_SREGS2 = 200,
                     KVM_CAP_EXIT_HYPERCALL = 201, KVM_CAP_BINARY_STATS_FD = 203,
                     KVM_CAP_EXIT_ON_EMULATION_FAILURE = 204, KVM_CAP_XSAVE2 = 208, KVM_CAP_SYS_ATTRIBUTES = 209,
                     KVM_CAP_DISABLE_QUIRKS2 = 213, KVM_CAP_VM_TSC_CONTROL = 214, KVM_CAP_SYSTEM_EVENT_DATA = 215,
                     KVM_CAP_X86_TRIPLE_FAULT_EVENT = 218, KVM_CAP_USER_MEMORY2 = 231,
                     KVM_CAP_MEMORY_FAULT_INFO = 232, KVM_CAP_MEMORY_ATTRIBUTES = 233, KVM_CAP_GUEST_MEMFD = 234,
                     KVM_CAP_VM_TYPES = 235, KVM_CAP_PRE_FAULT_MEMORY = 236, KVM_CAP_X86_APIC_BUS_CYCLES_NS = 237;
// clang-format on

struct kvm_enable_cap {
    u32 cap;
    u32 flags;
    u64 args[4];
    u8 pad[64];
};
static_assert(sizeof(kvm_enable_cap) == 104);

inline constexpr u32 KVM_MEM_LOG_DIRTY_PAGES = 1, KVM_MEM_READONLY = 2, KVM_MEM_GUEST_MEMFD = 4;

struct kvm_userspace_memory_region {
    u32 slot;
    u32 flags;
    u64 guest_phys_addr;
    u64 memory_size;
    u64 userspace_addr;
};
static_assert(sizeof(kvm_userspace_memory_region) == 32);

struct kvm_userspace_memory_region2 {
    u32 slot;
    u32 flags;
    u64 guest_phys_addr;
    u64 memory_size;
    u64 userspace_addr;
    u64 guest_memfd_offset;
    u32 guest_memfd;
    u32 pad1;
    u64 pad2[14];
};
static_assert(sizeof(kvm_userspace_memory_region2) == 160);

struct kvm_dirty_log {
    u32 slot;
    u32 padding;
    u64 dirty_bitmap;
};
static_assert(sizeof(kvm_dirty_log) == 16);

struct kvm_clear_dirty_log {
    u32 slot;
    u32 num_pages;
    u64 first_page;
    u64 dirty_bitmap;
};
static_assert(sizeof(kvm_clear_dirty_log) == 24);

// KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2.
inline constexpr u64 KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE = 1, KVM_DIRTY_LOG_INITIALLY_SET = 2;

struct kvm_create_guest_memfd {
    u64 size;
    u64 flags;
    u64 reserved[6];
};
static_assert(sizeof(kvm_create_guest_memfd) == 64);

inline constexpr u64 KVM_MEMORY_ATTRIBUTE_PRIVATE = bit(3);

struct kvm_memory_attributes {
    u64 address;
    u64 size;
    u64 attributes;
    u64 flags;
};
static_assert(sizeof(kvm_memory_attributes) == 32);

struct kvm_pre_fault_memory {
    u64 gpa;
    u64 size;
    u64 flags;
    u64 padding[5];
};
static_assert(sizeof(kvm_pre_fault_memory) == 64);

inline constexpr u32 KVM_IOEVENTFD_FLAG_DATAMATCH = 1, KVM_IOEVENTFD_FLAG_PIO = 2,
                     KVM_IOEVENTFD_FLAG_DEASSIGN = 4;
inline constexpr u32 KVM_IOEVENTFD_VALID_FLAG_MASK = 0x1f;

struct kvm_ioeventfd {
    u64 datamatch;
    u64 addr;
    u32 len;
    i32 fd;
    u32 flags;
    u8 pad[36];
};
static_assert(sizeof(kvm_ioeventfd) == 64);

struct kvm_msi {
    u32 address_lo;
    u32 address_hi;
    u32 data;
    u32 flags;
    u32 devid;
    u8 pad[12];
};
static_assert(sizeof(kvm_msi) == 32);

// KVM hypercall 12 and its attributes; KVM_EXIT_HYPERCALL carries it for MapGPA.
inline constexpr u64 KVM_HC_MAP_GPA_RANGE = 12;
inline constexpr u64 KVM_MAP_GPA_RANGE_ENCRYPTED = bit(4);
inline constexpr u64 KVM_ENOSYS = 1000;

} // namespace seamless::spec::kvm
