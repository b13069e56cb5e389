// SPDX-License-Identifier: Apache-2.0
// Guest state that a VMCS does not hold and that the software above (KVM, the TDX module) switches around a
// VM entry: general registers, CR2, debug registers, extended state, the SYSCALL MSRs.
#pragma once

#include "spec/x86.h"

namespace seamless::cpu {

// An XSAVE area in the standard format of this processor (CPUID.0DH). 4 KiB hold x87 to AVX-512 and PKRU.
struct alignas(64) XsaveArea {
    u8 bytes[4096] = {};

    // SDM: "Processor State Components in INIT": FCW 37FH, MXCSR 1F80H, XSTATE_BV 0.
    void reset();
};

struct GuestContext {
    u64 gpr[spec::kGprCount] = {}; // by spec::Gpr; RSP and RIP are in the VMCS, gpr[rsp] is unused
    u64 cr2 = 0;
    u64 cr8 = 0; // TPR[7:4] as MOV CR8 sees it, while no TPR shadow is used
    u64 dr[4] = {};
    u64 dr6 = spec::dr6::kReset;
    u64 xcr0 = 1;
    u64 xss = 0;
    u64 star = 0;
    u64 lstar = 0;
    u64 cstar = 0;
    u64 fmask = 0;
    u64 kernel_gs_base = 0;
    u64 tsc_aux = 0;
    u64 spec_ctrl = 0;
    u32 pkru = 0;
    XsaveArea xsave;

    GuestContext() { xsave.reset(); }
    [[nodiscard]] u64& operator[](spec::Gpr r) { return gpr[static_cast<unsigned>(r)]; }
    [[nodiscard]] u64 operator[](spec::Gpr r) const { return gpr[static_cast<unsigned>(r)]; }
};

} // namespace seamless::cpu
