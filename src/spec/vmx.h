// SPDX-License-Identifier: Apache-2.0
// VMX: exit reasons, VMCS field encodings, control bits. SDM volume 3: "Virtual Machine Control Structures",
// and the appendices "Field Encoding in VMCS" and "VMX Basic Exit Reasons".
#pragma once

#include "base/bits.h"

namespace seamless::spec {

enum class ExitReason : u16 {
    EXCEPTION_NMI = 0,
    EXTERNAL_INTERRUPT = 1,
    TRIPLE_FAULT = 2,
    INIT_SIGNAL = 3,
    SIPI_SIGNAL = 4,
    OTHER_SMI = 6,
    INTERRUPT_WINDOW = 7,
    NMI_WINDOW = 8,
    TASK_SWITCH = 9,
    CPUID = 10,
    GETSEC = 11,
    HLT = 12,
    INVD = 13,
    INVLPG = 14,
    RDPMC = 15,
    RDTSC = 16,
    RSM = 17,
    VMCALL = 18,
    VMCLEAR = 19,
    VMLAUNCH = 20,
    VMPTRLD = 21,
    VMPTRST = 22,
    VMREAD = 23,
    VMRESUME = 24,
    VMWRITE = 25,
    VMOFF = 26,
    VMON = 27,
    CR_ACCESS = 28,
    DR_ACCESS = 29,
    IO_INSTRUCTION = 30,
    MSR_READ = 31,
    MSR_WRITE = 32,
    INVALID_STATE = 33,
    MSR_LOAD_FAIL = 34,
    MWAIT_INSTRUCTION = 36,
    MONITOR_TRAP_FLAG = 37,
    MONITOR_INSTRUCTION = 39,
    PAUSE_INSTRUCTION = 40,
    MCE_DURING_VMENTRY = 41,
    TPR_BELOW_THRESHOLD = 43,
    APIC_ACCESS = 44,
    EOI_INDUCED = 45,
    GDTR_IDTR = 46,
    LDTR_TR = 47,
    EPT_VIOLATION = 48,
    EPT_MISCONFIG = 49,
    INVEPT = 50,
    RDTSCP = 51,
    PREEMPTION_TIMER = 52,
    INVVPID = 53,
    WBINVD = 54,
    XSETBV = 55,
    APIC_WRITE = 56,
    RDRAND = 57,
    INVPCID = 58,
    VMFUNC = 59,
    ENCLS = 60,
    RDSEED = 61,
    PML_FULL = 62,
    XSAVES = 63,
    XRSTORS = 64,
    PCONFIG = 65,
    UMWAIT = 67,
    TPAUSE = 68,
    BUS_LOCK = 74,
    NOTIFY = 75,
    SEAMCALL = 76,
    TDCALL = 77,
};

// The name KVM's tracepoints print ("EPT_VIOLATION"), or "UNKNOWN".
[[nodiscard]] const char* exit_reason_name(ExitReason reason);

// VMCS field encodings: access type 0, index 9:1, type 11:10, width 14:13.
enum class VmcsField : u32 {
    VIRTUAL_PROCESSOR_ID = 0x0000,
    POSTED_INTR_NV = 0x0002,
    EPTP_INDEX = 0x0004,
    GUEST_ES_SELECTOR = 0x0800, // CS +2, SS, DS, FS, GS, LDTR, TR in steps of 2
    GUEST_CS_SELECTOR = 0x0802,
    GUEST_SS_SELECTOR = 0x0804,
    GUEST_DS_SELECTOR = 0x0806,
    GUEST_FS_SELECTOR = 0x0808,
    GUEST_GS_SELECTOR = 0x080a,
    GUEST_LDTR_SELECTOR = 0x080c,
    GUEST_TR_SELECTOR = 0x080e,
    GUEST_INTR_STATUS = 0x0810,
    TSC_OFFSET = 0x2010,
    VIRTUAL_APIC_PAGE_ADDR = 0x2012,
    APIC_ACCESS_ADDR = 0x2014,
    POSTED_INTR_DESC_ADDR = 0x2016,
    EPT_POINTER = 0x201a,
    XSS_EXIT_BITMAP = 0x202c,
    VE_INFORMATION_ADDRESS = 0x202a,
    TSC_MULTIPLIER = 0x2032,
    SHARED_EPT_POINTER = 0x203c,
    GUEST_PHYSICAL_ADDRESS = 0x2400,
    GUEST_IA32_DEBUGCTL = 0x2802,
    GUEST_IA32_PAT = 0x2804,
    GUEST_IA32_EFER = 0x2806,
    PIN_BASED_VM_EXEC_CONTROL = 0x4000,
    CPU_BASED_VM_EXEC_CONTROL = 0x4002,
    EXCEPTION_BITMAP = 0x4004,
    VM_EXIT_CONTROLS = 0x400c,
    VM_ENTRY_CONTROLS = 0x4012,
    VM_ENTRY_INTR_INFO = 0x4016,
    VM_ENTRY_EXCEPTION_ERROR_CODE = 0x4018,
    VM_ENTRY_INSTRUCTION_LEN = 0x401a,
    SECONDARY_VM_EXEC_CONTROL = 0x401e,
    VM_INSTRUCTION_ERROR = 0x4400,
    VM_EXIT_REASON = 0x4402,
    VM_EXIT_INTR_INFO = 0x4404,
    VM_EXIT_INTR_ERROR_CODE = 0x4406,
    IDT_VECTORING_INFO = 0x4408,
    IDT_VECTORING_ERROR_CODE = 0x440a,
    VM_EXIT_INSTRUCTION_LEN = 0x440c,
    VMX_INSTRUCTION_INFO = 0x440e,
    GUEST_ES_LIMIT = 0x4800,
    GUEST_GDTR_LIMIT = 0x4810,
    GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ES_AR_BYTES = 0x4814,
    GUEST_INTERRUPTIBILITY_INFO = 0x4824,
    GUEST_ACTIVITY_STATE = 0x4826,
    GUEST_SYSENTER_CS = 0x482a,
    CR0_GUEST_HOST_MASK = 0x6000,
    CR4_GUEST_HOST_MASK = 0x6002,
    CR0_READ_SHADOW = 0x6004,
    CR4_READ_SHADOW = 0x6006,
    EXIT_QUALIFICATION = 0x6400,
    GUEST_LINEAR_ADDRESS = 0x640a,
    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_ES_BASE = 0x6806,
    GUEST_GDTR_BASE = 0x6816,
    GUEST_IDTR_BASE = 0x6818,
    GUEST_DR7 = 0x681a,
    GUEST_RSP = 0x681c,
    GUEST_RIP = 0x681e,
    GUEST_RFLAGS = 0x6820,
    GUEST_PENDING_DBG_EXCEPTIONS = 0x6822,
    GUEST_SYSENTER_ESP = 0x6824,
    GUEST_SYSENTER_EIP = 0x6826,
};

// SDM: "Pin-Based VM-Execution Controls".
namespace pin {
inline constexpr u32 EXTERNAL_INTERRUPT_EXITING = 1u << 0, NMI_EXITING = 1u << 3, VIRTUAL_NMIS = 1u << 5,
                     POSTED_INTERRUPTS = 1u << 7;
}
// SDM: "Processor-Based VM-Execution Controls".
namespace proc {
inline constexpr u32 INTERRUPT_WINDOW_EXITING = 1u << 2, TSC_OFFSETTING = 1u << 3, HLT_EXITING = 1u << 7,
                     INVLPG_EXITING = 1u << 9, MWAIT_EXITING = 1u << 10, RDPMC_EXITING = 1u << 11,
                     RDTSC_EXITING = 1u << 12, CR3_LOAD_EXITING = 1u << 15, CR3_STORE_EXITING = 1u << 16,
                     CR8_LOAD_EXITING = 1u << 19, CR8_STORE_EXITING = 1u << 20, TPR_SHADOW = 1u << 21,
                     NMI_WINDOW_EXITING = 1u << 22, MOV_DR_EXITING = 1u << 23,
                     UNCONDITIONAL_IO_EXITING = 1u << 24, IO_BITMAPS = 1u << 25, MONITOR_TRAP_FLAG = 1u << 27,
                     MSR_BITMAPS = 1u << 28, MONITOR_EXITING = 1u << 29, PAUSE_EXITING = 1u << 30,
                     SECONDARY_CONTROLS = 1u << 31;
}
// SDM: "Secondary Processor-Based VM-Execution Controls".
namespace proc2 {
inline constexpr u32 VIRTUALIZE_APIC_ACCESSES = 1u << 0, EPT = 1u << 1, DESCRIPTOR_TABLE_EXITING = 1u << 2,
                     RDTSCP = 1u << 3, VIRTUALIZE_X2APIC = 1u << 4, VPID = 1u << 5, WBINVD_EXITING = 1u << 6,
                     UNRESTRICTED_GUEST = 1u << 7, APIC_REGISTER_VIRTUALIZATION = 1u << 8,
                     VIRTUAL_INTERRUPT_DELIVERY = 1u << 9, RDRAND_EXITING = 1u << 11, INVPCID = 1u << 12,
                     RDSEED_EXITING = 1u << 16, EPT_VIOLATION_VE = 1u << 18, XSAVES = 1u << 20,
                     TSC_SCALING = 1u << 25, USER_WAIT_PAUSE = 1u << 26;
}

// VM-entry and VM-exit interruption information, and IDT-vectoring information (SDM: same names).
namespace intr_info {
inline constexpr u32 VALID = 1u << 31, ERROR_CODE = 1u << 11, NMI_UNBLOCKED = 1u << 12;
inline constexpr u32 EXTERNAL = 0u << 8, NMI = 2u << 8, HARDWARE_EXCEPTION = 3u << 8,
                     SOFTWARE_INTERRUPT = 4u << 8, PRIVILEGED_SOFTWARE_EXCEPTION = 5u << 8,
                     SOFTWARE_EXCEPTION = 6u << 8, OTHER_EVENT = 7u << 8;
[[nodiscard]] constexpr u32 type(u32 info) { return info & (7u << 8); }
[[nodiscard]] constexpr u8 vector(u32 info) { return static_cast<u8>(info); }
} // namespace intr_info

// SDM: "Guest Non-Register State": interruptibility state and activity state.
namespace interruptibility {
inline constexpr u32 STI = 1u << 0, MOV_SS = 1u << 1, SMI = 1u << 2, NMI = 1u << 3;
}
enum class Activity : u32 { active = 0, hlt = 1, shutdown = 2, wait_for_sipi = 3 };

// Exit qualification of IN, OUT, INS, OUTS. SDM: "Exit Qualification for I/O Instructions".
namespace io_qual {
inline constexpr u64 IN = bit(3), STRING = bit(4), REP = bit(5), IMMEDIATE = bit(6);
[[nodiscard]] constexpr unsigned size(u64 q) { return static_cast<unsigned>(q & 7) + 1; }
[[nodiscard]] constexpr u16 port(u64 q) { return static_cast<u16>(q >> 16); }
} // namespace io_qual

// SDM: "Format of the Virtualization-Exception Information Area". Also the head of a TDVPS (TDX ABI).
struct VeInfo {
    u32 exit_reason;
    u32 valid; // ~0: holds unread information
    u64 exit_qualification;
    u64 gla;
    u64 gpa;
    u16 eptp_index;
    u16 reserved;
    u32 instruction_length;      // TDX ABI: written for instruction #VEs only
    u32 instruction_information; // TDX ABI: likewise
};
inline constexpr u32 kVeInfoValid = 0xffffffff;

} // namespace seamless::spec
