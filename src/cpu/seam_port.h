// SPDX-License-Identifier: Apache-2.0
// SEAMCALL as the host sees it: registers in, registers out. KVM and the TDX module meet here and nowhere
// else.
#pragma once

#include "base/bits.h"

namespace seamless::cpu {

class LogicalProcessor;

// General registers of a SEAMCALL. XMM registers travel only with TDG.VP.VMCALL and are not exposed by any
// host.
struct SeamRegs {
    u64 rax = 0, rcx = 0, rdx = 0, rbx = 0, rbp = 0, rsi = 0, rdi = 0;
    u64 r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
};

class SeamPort {
  public:
    virtual ~SeamPort() = default;
    // Executes SEAMCALL on `lp`, which the caller's thread has borrowed. RAX is the leaf on entry and the
    // completion status on return. False is VMfailInvalid: CF set, nothing changed (no module is loaded).
    [[nodiscard]] virtual bool seamcall(LogicalProcessor& lp, SeamRegs& regs) = 0;
};

} // namespace seamless::cpu
