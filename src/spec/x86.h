// SPDX-License-Identifier: Apache-2.0
// Architectural registers of an x86-64 processor: bit positions, exception vectors, segment attributes.
// SDM volume 3: "System Architecture Overview", "Protection", "Interrupt and Exception Handling".
#pragma once

#include "base/bits.h"

namespace seamless::spec {

enum class Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
inline constexpr unsigned kGprCount = 16;

// SDM: "EFLAGS Register".
namespace rflags {
inline constexpr u64 CF = bit(0), FIXED1 = bit(1), PF = bit(2), AF = bit(4), ZF = bit(6), SF = bit(7),
                     TF = bit(8), IF = bit(9), DF = bit(10), OF = bit(11), IOPL = bits(13, 12), NT = bit(14),
                     RF = bit(16), VM = bit(17), AC = bit(18), VIF = bit(19), VIP = bit(20), ID = bit(21);
inline constexpr u64 kArithmetic = CF | PF | AF | ZF | SF | OF;
inline constexpr u64 kSysret = 0x3c7fd7; // what SYSRET takes from R11
inline constexpr u64 kDefined =
    kArithmetic | FIXED1 | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
} // namespace rflags

// SDM: "Control Registers".
namespace cr0 {
inline constexpr u64 PE = bit(0), MP = bit(1), EM = bit(2), TS = bit(3), ET = bit(4), NE = bit(5),
                     WP = bit(16), AM = bit(18), NW = bit(29), CD = bit(30), PG = bit(31);
inline constexpr u64 kDefined = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
} // namespace cr0

namespace cr4 {
inline constexpr u64 VME = bit(0), PVI = bit(1), TSD = bit(2), DE = bit(3), PSE = bit(4), PAE = bit(5),
                     MCE = bit(6), PGE = bit(7), PCE = bit(8), OSFXSR = bit(9), OSXMMEXCPT = bit(10),
                     UMIP = bit(11), LA57 = bit(12), VMXE = bit(13), SMXE = bit(14), FSGSBASE = bit(16),
                     PCIDE = bit(17), OSXSAVE = bit(18), SMEP = bit(20), SMAP = bit(21), PKE = bit(22),
                     CET = bit(23), PKS = bit(24);
} // namespace cr4

namespace efer {
inline constexpr u64 SCE = bit(0), LME = bit(8), LMA = bit(10), NXE = bit(11);
}

namespace dr6 {
inline constexpr u64 kReset = 0xffff0ff0, BS = bit(14), BD = bit(13), B0_3 = bits(3, 0);
}
namespace dr7 {
inline constexpr u64 kReset = 0x400, GD = bit(13), ENABLED = bits(7, 0);
}

// SDM: "Exception and Interrupt Reference".
enum class Vector : u8 {
    DE = 0,
    DB = 1,
    NMI = 2,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14,
    MF = 16,
    AC = 17,
    MC = 18,
    XM = 19,
    VE = 20,
    CP = 21,
};

// True for the exceptions that push an error code. SDM: "Error Code".
[[nodiscard]] constexpr bool has_error_code(Vector v)
{
    constexpr u32 with = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 | 1u << 21;
    return static_cast<u8>(v) < 32 && (with >> static_cast<u8>(v) & 1);
}

// SDM: "Page-Fault Exceptions": the error code of #PF.
namespace pferr {
inline constexpr u32 P = 1u << 0, W = 1u << 1, U = 1u << 2, RSVD = 1u << 3, I = 1u << 4, PK = 1u << 5,
                     SS = 1u << 6;
}

enum class Seg : u8 { es, cs, ss, ds, fs, gs, ldtr, tr };
inline constexpr unsigned kSegCount = 8;

// A segment register with its hidden part. `ar` has the layout of the VMCS access rights (SDM: "Guest
// Register State"): type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. `limit` is in
// bytes.
struct Segment {
    u64 base = 0;
    u32 limit = 0;
    u32 ar = 0;
    u16 selector = 0;

    friend constexpr bool operator==(const Segment&, const Segment&) = default;
};

namespace segment_ar {
inline constexpr u32 S = 1u << 4, P = 1u << 7, L = 1u << 13, DB = 1u << 14, G = 1u << 15, UNUSABLE = 1u << 16;
[[nodiscard]] constexpr unsigned type(u32 ar) { return ar & 15; }
[[nodiscard]] constexpr unsigned dpl(u32 ar) { return ar >> 5 & 3; }
} // namespace segment_ar

// GDTR and IDTR.
struct DescriptorTable {
    u64 base = 0;
    u16 limit = 0;

    friend constexpr bool operator==(const DescriptorTable&, const DescriptorTable&) = default;
};

// SDM volume 4: "Model-Specific Registers".
enum class Msr : u32 {
    IA32_TSC = 0x10,
    IA32_APIC_BASE = 0x1b,
    IA32_FEATURE_CONTROL = 0x3a,
    IA32_TSC_ADJUST = 0x3b,
    IA32_SPEC_CTRL = 0x48,
    IA32_PRED_CMD = 0x49,
    IA32_BIOS_SIGN_ID = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    IA32_MTRRCAP = 0xfe,
    IA32_ARCH_CAPABILITIES = 0x10a,
    IA32_FLUSH_CMD = 0x10b,
    MSR_MISC_FEATURES_ENABLES = 0x140,
    IA32_SYSENTER_CS = 0x174,
    IA32_SYSENTER_ESP = 0x175,
    IA32_SYSENTER_EIP = 0x176,
    IA32_MCG_CAP = 0x179,
    IA32_MCG_STATUS = 0x17a,
    IA32_MCG_CTL = 0x17b,
    IA32_MISC_ENABLE = 0x1a0,
    IA32_DEBUGCTL = 0x1d9,
    MSR_POWER_CTL = 0x1fc,
    IA32_PAT = 0x277,
    IA32_MTRR_DEF_TYPE = 0x2ff,
    IA32_MCG_EXT_CTL = 0x4d0,
    IA32_TSC_DEADLINE = 0x6e0,
    IA32_X2APIC_BASE = 0x800,
    IA32_XSS = 0xda0,
    IA32_EFER = 0xc0000080,
    IA32_STAR = 0xc0000081,
    IA32_LSTAR = 0xc0000082,
    IA32_CSTAR = 0xc0000083,
    IA32_FMASK = 0xc0000084,
    IA32_FS_BASE = 0xc0000100,
    IA32_GS_BASE = 0xc0000101,
    IA32_KERNEL_GS_BASE = 0xc0000102,
    IA32_TSC_AUX = 0xc0000103,
};

inline constexpr u64 kPatReset = 0x0007040600070406;
inline constexpr u32 kMxcsrReset = 0x1f80;

} // namespace seamless::spec
