// SPDX-License-Identifier: Apache-2.0
// KVM's codes for page faults and emulation: RET_PF_*, X86EMUL_*, EMULTYPE_*, PFERR_*. The numbers matter: 1
// keeps a vCPU running, 0 leaves to user space, and both travel up as plain integers.
#pragma once

#include "base/bits.h"
#include "base/errno.h"
#include "base/result.h"

namespace seamless::kvm {

// What a handler tells the run loop: above 0 re-enter, 0 exit to user space, an error fails KVM_RUN.
using Handled = Result<int, Errno>;
inline constexpr int kResume = 1, kToUser = 0;

enum class RetPf : int {
    RET_PF_CONTINUE = 0, // internal: must not escape
    RET_PF_RETRY = 1,
    RET_PF_EMULATE = 2,
    RET_PF_WRITE_PROTECTED = 3,
    RET_PF_INVALID = 4,
    RET_PF_FIXED = 5,
    RET_PF_SPURIOUS = 6,
};
using enum RetPf;
[[nodiscard]] const char* name_of(RetPf r);

enum class X86Emul : int {
    X86EMUL_CONTINUE = 0,
    X86EMUL_UNHANDLEABLE = 1,
    X86EMUL_PROPAGATE_FAULT = 2,
    X86EMUL_RETRY_INSTR = 3,
    X86EMUL_CMPXCHG_FAILED = 4,
    X86EMUL_IO_NEEDED = 5,
    X86EMUL_INTERCEPTED = 6,
    X86EMUL_UNHANDLEABLE_VECTORING = 7,
};
using enum X86Emul;
[[nodiscard]] const char* name_of(X86Emul r);

inline constexpr int EMULTYPE_NO_DECODE = 0x1, EMULTYPE_TRAP_UD = 0x2, EMULTYPE_SKIP = 0x4,
                     EMULTYPE_ALLOW_RETRY_PF = 0x8, EMULTYPE_PF = 0x40, EMULTYPE_WRITE_PF_TO_SP = 0x100;

inline constexpr u64 PFERR_PRESENT_MASK = bit(0), PFERR_WRITE_MASK = bit(1), PFERR_USER_MASK = bit(2),
                     PFERR_RSVD_MASK = bit(3), PFERR_FETCH_MASK = bit(4), PFERR_PRIVATE_ACCESS = bit(49);

} // namespace seamless::kvm
