// SPDX-License-Identifier: Apache-2.0
// struct kvm_run, the page a vCPU shares with its VMM, and the exit reasons that it reports. KVM API:
// "KVM_RUN".
#pragma once

#include <cstddef>

#include "base/bits.h"

namespace seamless::spec::kvm {

// clang-format off
inline constexpr u32 KVM_EXIT_UNKNOWN = 0, KVM_EXIT_EXCEPTION = 1, KVM_EXIT_IO = 2, KVM_EXIT_HYPERCALL = 3,
                     KVM_EXIT_DEBUG = 4, KVM_EXIT_HLT = 5, KVM_EXIT_MMIO = 6, KVM_EXIT_IRQ_WINDOW_OPEN = 7,
                     KVM_EXIT_SHUTDOWN = 8, KVM_EXIT_FAIL_ENTRY = 9, KVM_EXIT_INTR = 10, KVM_EXIT_SET_TPR = 11,
                     KVM_EXIT_TPR_ACCESS = 12, KVM_EXIT_INTERNAL_ERROR = 17, KVM_EXIT_SYSTEM_EVENT = 24,
                     KVM_EXIT_IOAPIC_EOI = 26, KVM_EXIT_X86_RDMSR = 29, KVM_EXIT_X86_WRMSR = 30,
                     KVM_EXIT_MEMORY_FAULT = 39, KVM_EXIT_TDX = 40;
// clang-format on

inline constexpr u8 KVM_EXIT_IO_IN = 0, KVM_EXIT_IO_OUT = 1;

inline constexpr u32 KVM_INTERNAL_ERROR_EMULATION = 1, KVM_INTERNAL_ERROR_SIMUL_EX = 2,
                     KVM_INTERNAL_ERROR_DELIVERY_EV = 3, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON = 4;
inline constexpr u64 KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES = bit(0);

inline constexpr u32 KVM_SYSTEM_EVENT_SHUTDOWN = 1, KVM_SYSTEM_EVENT_RESET = 2, KVM_SYSTEM_EVENT_CRASH = 3,
                     KVM_SYSTEM_EVENT_TDX_FATAL = 7;

inline constexpr u64 KVM_MEMORY_EXIT_FLAG_PRIVATE = bit(3);
inline constexpr u32 KVM_MSR_EXIT_REASON_INVAL = 1, KVM_MSR_EXIT_REASON_UNKNOWN = 2,
                     KVM_MSR_EXIT_REASON_FILTER = 4;

struct kvm_run {
    u8 request_interrupt_window;
    u8 immediate_exit;
    u8 padding1[6];
    u32 exit_reason;
    u8 ready_for_interrupt_injection;
    u8 if_flag;
    u16 flags;
    u64 cr8;
    u64 apic_base;
    union {
        struct {
            u64 hardware_exit_reason;
        } hw;
        struct {
            u64 hardware_entry_failure_reason;
            u32 cpu;
        } fail_entry;
        struct {
            u32 exception;
            u32 error_code;
        } ex;
        struct {
            u8 direction;
            u8 size;
            u16 port;
            u32 count;
            u64 data_offset; // from the start of kvm_run
        } io;
        struct {
            u64 phys_addr;
            u8 data[8];
            u32 len;
            u8 is_write;
        } mmio;
        struct {
            u64 nr;
            u64 args[6];
            u64 ret;
            u64 flags;
        } hypercall;
        struct {
            u32 suberror;
            u32 ndata;
            u64 data[16];
        } internal;
        struct {
            u32 suberror;
            u32 ndata;
            u64 flags;
            u8 insn_size;
            u8 insn_bytes[15];
        } emulation_failure;
        struct {
            u32 type;
            u32 ndata;
            u64 data[16];
        } system_event;
        struct {
            u8 vector;
        } eoi;
        struct {
            u32 exception;
            u32 pad;
            u64 pc;
            u64 dr6, dr7;
        } debug;
        struct {
            u8 error;
            u8 pad[7];
            u32 reason;
            u32 index;
            u64 data;
        } msr;
        struct {
            u64 flags;
            u64 gpa;
            u64 size;
        } memory_fault;
        struct {
            u64 flags;
            u64 nr;
            union {
                struct {
                    u64 ret;
                    u64 data[5];
                } unknown;
                struct {
                    u64 ret;
                    u64 gpa;
                    u64 size;
                } get_quote;
                struct {
                    u64 ret;
                    u64 leaf;
                    u64 r11, r12, r13, r14;
                } get_tdvmcall_info;
                struct {
                    u64 ret;
                    u64 vector;
                } setup_event_notify;
            };
        } tdx;
        u8 padding[256];
    };
    u64 kvm_valid_regs;
    u64 kvm_dirty_regs;
    u8 sync_regs[2048];
};
static_assert(sizeof(kvm_run) == 2352);
static_assert(offsetof(kvm_run, exit_reason) == 8 && offsetof(kvm_run, cr8) == 16 &&
              offsetof(kvm_run, padding) == 32);
static_assert(offsetof(kvm_run, mmio.len) == 48 && offsetof(kvm_run, mmio.is_write) == 52);
static_assert(offsetof(kvm_run, io.data_offset) == 40 && offsetof(kvm_run, tdx.unknown.data) == 56);
static_assert(offsetof(kvm_run, msr.data) == 48 && offsetof(kvm_run, hypercall.ret) == 88);
static_assert(offsetof(kvm_run, kvm_valid_regs) == 288);

} // namespace seamless::spec::kvm
