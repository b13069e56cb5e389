// SPDX-License-Identifier: Apache-2.0
// TDG.VP.VMCALL: sub-functions and statuses that the guest and the host agree on.
// GHCI: "TDG.VP.VMCALL Interface", "TDG.VP.VMCALL Completion Status".
#pragma once

#include "base/bits.h"

namespace seamless::spec {

// R11 of a TDVMCALL with R10 = 0. Numbers below 0x10000 are VMX exit reasons.
enum class Tdvmcall : u64 {
    INSTRUCTION_CPUID = 10,
    INSTRUCTION_HLT = 12,
    INSTRUCTION_IO = 30,
    INSTRUCTION_RDMSR = 31,
    INSTRUCTION_WRMSR = 32,
    VE_REQUEST_MMIO = 48,
    INSTRUCTION_WBINVD = 54,
    INSTRUCTION_PCONFIG = 65,
    GET_TD_VM_CALL_INFO = 0x10000,
    MAP_GPA = 0x10001,
    GET_QUOTE = 0x10002,
    REPORT_FATAL_ERROR = 0x10003,
    SETUP_EVENT_NOTIFY_INTERRUPT = 0x10004,
    SERVICE = 0x10005,
};

// R10 of the answer.
enum class TdvmcallStatus : u64 {
    SUCCESS = 0,
    RETRY = 1,
    INVALID_OPERAND = 0x8000000000000000,
    GPA_INUSE = 0x8000000000000001,
    ALIGN_ERROR = 0x8000000000000002,
    SUBFUNC_UNSUPPORTED = 0x8000000000000003,
};

// RCX: bit i exposes general register i in the order RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, bit 16 + i
// XMMi.
namespace tdvmcall_mask {
inline constexpr u64 kNeverExposed = bit(0) | bit(1) | bit(4); // RAX, RCX, RSP
inline constexpr u64 RBP = bit(5);
inline constexpr u64 kLinux = 0xffcc;
} // namespace tdvmcall_mask

} // namespace seamless::spec
