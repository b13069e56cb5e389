// SPDX-License-Identifier: Apache-2.0
// The guest's side of the TDX ABI: TDCALL leaves and GHCI requests, as functions. TDX ABI: "TDCALL
// Instruction"; GHCI: "TDG.VP.VMCALL Interface".
#pragma once

#include "base/bits.h"

namespace seamless::guest {

enum class TdgLeaf : u64 {
    VP_VMCALL = 0,
    VP_INFO = 1,
    MR_RTMR_EXTEND = 2,
    VP_VEINFO_GET = 3,
    MR_REPORT = 4,
    VP_CPUIDVE_SET = 5,
    MEM_PAGE_ACCEPT = 6,
    VM_RD = 7,
    VM_WR = 8,
    VP_RD = 9,
    VP_WR = 10,
    SYS_RD = 11,
};

// Status codes, as RAX has them: the operand or other details are in the low half.
inline constexpr u64 kSuccess = 0;
inline constexpr u64 kOperandInvalid = 0xc0000100'00000000;
inline constexpr u64 kNoValidVeInfo = 0xc0000704'00000000;
inline constexpr u64 kPageAlreadyAccepted = 0x00000b0a'00000000;
inline constexpr u64 kPageSizeMismatch = 0xc0000b0b'00000000;
inline constexpr u64 kFieldIdIncorrect = 0xc0000c00'00000000;
inline constexpr u64 kStatusMask = 0xffffffff'00000000;

// GHCI status in R10.
inline constexpr u64 kGhciInvalidOperand = 0x80000000'00000000;
inline constexpr u64 kGhciAlignError = 0x80000000'00000002;
inline constexpr u64 kGhciUnsupported = 0x80000000'00000003;

// GHCI leaves beyond the instruction class, whose numbers are VMX exit reasons (spec/vmx.h).
inline constexpr u64 kGetTdVmCallInfo = 0x10000;
inline constexpr u64 kMapGpa = 0x10001;

struct TdcallRegisters { // in tdcall.S's order
    u64 rcx = 0, rdx = 0, rbx = 0, rsi = 0, rdi = 0, r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0,
        r14 = 0, r15 = 0;
};

// Any TDCALL. `leaf` is RAX: version in bits 23:16.
u64 tdcall(u64 leaf, TdcallRegisters& registers);
inline u64 tdcall(TdgLeaf leaf, TdcallRegisters& registers)
{
    return tdcall(static_cast<u64>(leaf), registers);
}

// A request to the host with RDX, RBX, RSI, RDI and R8 to R15 exposed.
struct VmcallResult {
    u64 status; // R10
    u64 value;  // R11
    TdcallRegisters registers;
};
VmcallResult vmcall(u64 request, u64 r12 = 0, u64 r13 = 0, u64 r14 = 0, u64 r15 = 0);

struct VeInfo {
    u32 exit_reason;
    u64 qualification;
    u64 gla;
    u64 gpa;
    u32 instruction_length; // of instructions that cause #VE by themselves
};

struct TdInfo {
    unsigned gpaw;
    u64 attributes;
    unsigned vcpus;
    unsigned max_vcpus;
    unsigned vcpu_index;
};

// TDREPORT, as far as the guest reads it.
inline constexpr unsigned kMeasurementSize = 48;
struct TdReport {
    u8 mac_structure[256];
    u8 tcb_info[256];
    u64 attributes;
    u64 xfam;
    u8 mrtd[kMeasurementSize];
    u8 configuration[3][kMeasurementSize];
    u8 rtmr[4][kMeasurementSize];
    u8 servtd_hash[kMeasurementSize];
    u8 reserved[64];
};
static_assert(sizeof(TdReport) == 1024);

[[nodiscard]] u64 read_ve_info(VeInfo& info);
[[nodiscard]] TdInfo td_info();
// `report` aligned to 1024, `data` (64 bytes) to 64.
[[nodiscard]] u64 make_report(TdReport& report, const u8* data);
// `value` is 48 bytes, aligned to 64.
[[nodiscard]] u64 extend_rtmr(unsigned index, const u8* value);
// Level 0 = 4 KiB, 1 = 2 MiB.
[[nodiscard]] u64 accept_page(u64 gpa, unsigned level);

} // namespace seamless::guest
