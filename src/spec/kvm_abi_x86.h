// SPDX-License-Identifier: Apache-2.0
// Registers, CPUID, MSRs and the TDX commands of the KVM API on x86. KVM API: "Intel Trust Domain
// Extensions".
#pragma once

#include <cstddef>

#include "base/bits.h"

namespace seamless::spec::kvm {

struct kvm_regs {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
};
static_assert(sizeof(kvm_regs) == 144);

struct kvm_segment {
    u64 base;
    u32 limit;
    u16 selector;
    u8 type, present, dpl, db, s, l, g, avl, unusable, padding;
};
static_assert(sizeof(kvm_segment) == 24);

struct kvm_dtable {
    u64 base;
    u16 limit;
    u16 padding[3];
};

struct kvm_sregs {
    kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    kvm_dtable gdt, idt;
    u64 cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    u64 interrupt_bitmap[4];
};
static_assert(sizeof(kvm_sregs) == 312);

struct kvm_sregs2 {
    kvm_segment cs, ds, es, fs, gs, ss, tr, ldt;
    kvm_dtable gdt, idt;
    u64 cr0, cr2, cr3, cr4, cr8, efer, apic_base;
    u64 flags;
    u64 pdptrs[4];
};
static_assert(sizeof(kvm_sregs2) == 320);

struct kvm_fpu {
    u8 fpr[8][16];
    u16 fcw, fsw;
    u8 ftwx, pad1;
    u16 last_opcode;
    u64 last_ip, last_dp;
    u8 xmm[16][16];
    u32 mxcsr, pad2;
};
static_assert(sizeof(kvm_fpu) == 416);

struct kvm_debugregs {
    u64 db[4];
    u64 dr6, dr7, flags;
    u64 reserved[9];
};
static_assert(sizeof(kvm_debugregs) == 128);

// KVM_SET_GUEST_DEBUG: control.
inline constexpr u32 KVM_GUESTDBG_ENABLE = 1, KVM_GUESTDBG_SINGLESTEP = 2, KVM_GUESTDBG_USE_SW_BP = 1u << 16,
                     KVM_GUESTDBG_USE_HW_BP = 1u << 17, KVM_GUESTDBG_INJECT_DB = 1u << 18,
                     KVM_GUESTDBG_INJECT_BP = 1u << 19, KVM_GUESTDBG_BLOCKIRQ = 1u << 20;
inline constexpr u32 KVM_GUESTDBG_VALID_MASK = 0x1f0003;
struct kvm_guest_debug {
    u32 control, pad;
    u64 debugreg[8];
};
static_assert(sizeof(kvm_guest_debug) == 72);

// Followed by `len` bytes of signal set.
struct kvm_signal_mask {
    u32 len;
};

struct kvm_translation {
    u64 linear_address;
    u64 physical_address;
    u8 valid, writeable, usermode, pad[5];
};
static_assert(sizeof(kvm_translation) == 24);

struct kvm_xsave {
    u32 region[1024];
};

struct kvm_xcr {
    u32 xcr, reserved;
    u64 value;
};
struct kvm_xcrs {
    u32 nr_xcrs, flags;
    kvm_xcr xcrs[16];
    u64 padding[16];
};
static_assert(sizeof(kvm_xcrs) == 392);

struct kvm_vcpu_events {
    struct {
        u8 injected, nr, has_error_code, pending;
        u32 error_code;
    } exception;
    struct {
        u8 injected, nr, soft, shadow;
    } interrupt;
    struct {
        u8 injected, pending, masked, pad;
    } nmi;
    u32 sipi_vector;
    u32 flags;
    struct {
        u8 smm, pending, smm_inside_nmi, latched_init;
    } smi;
    u8 triple_fault_pending;
    u8 reserved[26];
    u8 exception_has_payload;
    u64 exception_payload;
};
static_assert(sizeof(kvm_vcpu_events) == 64);

inline constexpr u32 KVM_MP_STATE_RUNNABLE = 0, KVM_MP_STATE_UNINITIALIZED = 1,
                     KVM_MP_STATE_INIT_RECEIVED = 2, KVM_MP_STATE_HALTED = 3, KVM_MP_STATE_SIPI_RECEIVED = 4;
struct kvm_mp_state {
    u32 mp_state;
};

struct kvm_interrupt {
    u32 irq;
};

inline constexpr u32 KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;
struct kvm_cpuid_entry2 {
    u32 function, index, flags;
    u32 eax, ebx, ecx, edx;
    u32 padding[3];
};
static_assert(sizeof(kvm_cpuid_entry2) == 40);

// Structures that end in an array of `nent` or `nmsrs` elements: the array follows the header.
struct kvm_cpuid2 {
    u32 nent, padding;
    [[nodiscard]] kvm_cpuid_entry2* entries() { return reinterpret_cast<kvm_cpuid_entry2*>(this + 1); }
    [[nodiscard]] const kvm_cpuid_entry2* entries() const
    {
        return reinterpret_cast<const kvm_cpuid_entry2*>(this + 1);
    }
};
static_assert(sizeof(kvm_cpuid2) == 8);

struct kvm_msr_entry {
    u32 index, reserved;
    u64 data;
};
struct kvm_msrs {
    u32 nmsrs, pad;
    [[nodiscard]] kvm_msr_entry* entries() { return reinterpret_cast<kvm_msr_entry*>(this + 1); }
};

// KVM_MEMORY_ENCRYPT_OP of a VM of type KVM_X86_TDX_VM.
inline constexpr u32 KVM_TDX_CAPABILITIES = 0, KVM_TDX_INIT_VM = 1, KVM_TDX_INIT_VCPU = 2,
                     KVM_TDX_INIT_MEM_REGION = 3, KVM_TDX_FINALIZE_VM = 4, KVM_TDX_GET_CPUID = 5;
inline constexpr u32 KVM_TDX_MEASURE_MEMORY_REGION = 1;

struct kvm_tdx_cmd {
    u32 id;
    u32 flags;
    u64 data;
    u64 hw_error; // in: 0; out: the SEAMCALL's status
};
static_assert(sizeof(kvm_tdx_cmd) == 24);

struct kvm_tdx_capabilities {
    u64 supported_attrs;
    u64 supported_xfam;
    u64 kernel_tdvmcallinfo_1_r11;
    u64 user_tdvmcallinfo_1_r11;
    u64 kernel_tdvmcallinfo_1_r12;
    u64 user_tdvmcallinfo_1_r12;
    u64 reserved[250];
    kvm_cpuid2 cpuid;
};
static_assert(sizeof(kvm_tdx_capabilities) == 2056 && offsetof(kvm_tdx_capabilities, cpuid) == 2048);

struct kvm_tdx_init_vm {
    u64 attributes;
    u64 xfam;
    u64 mrconfigid[6];
    u64 mrowner[6];
    u64 mrownerconfig[6];
    u64 reserved[12];
    kvm_cpuid2 cpuid;
};
static_assert(sizeof(kvm_tdx_init_vm) == 264 && offsetof(kvm_tdx_init_vm, cpuid) == 256);

struct kvm_tdx_init_mem_region {
    u64 source_addr;
    u64 gpa;
    u64 nr_pages;
};
static_assert(sizeof(kvm_tdx_init_mem_region) == 24);

// KVM_EXIT_TDX and GHCI leaves it carries.
inline constexpr u64 TDVMCALL_GET_TD_VM_CALL_INFO = 0x10000, TDVMCALL_GET_QUOTE = 0x10002,
                     TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT = 0x10004;
inline constexpr u64 TDVMCALL_STATUS_SUCCESS = 0, TDVMCALL_STATUS_RETRY = 1,
                     TDVMCALL_STATUS_INVALID_OPERAND = 0x8000000000000000,
                     TDVMCALL_STATUS_ALIGN_ERROR = 0x8000000000000002,
                     TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED = 0x8000000000000003;

} // namespace seamless::spec::kvm
