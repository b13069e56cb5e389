// SPDX-License-Identifier: Apache-2.0
// KVM's codes for page faults: RET_PF_* and PFERR_*, and the emulator's. The numbers matter: 1 keeps a vCPU
// running, 0 leaves to user space, and both travel up as plain integers.
#pragma once

#include "base/bits.h"
#include "base/errno.h"
#include "base/result.h"
#include "emul/codes.h"

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

using emul::X86Emul;
using enum emul::X86Emul;
using emul::EMULTYPE_ALLOW_RETRY_PF;
using emul::EMULTYPE_NO_DECODE;
using emul::EMULTYPE_PF;
using emul::EMULTYPE_SKIP;
using emul::EMULTYPE_TRAP_UD;
using emul::EMULTYPE_WRITE_PF_TO_SP;

inline constexpr u64 PFERR_PRESENT_MASK = bit(0), PFERR_WRITE_MASK = bit(1), PFERR_USER_MASK = bit(2),
                     PFERR_RSVD_MASK = bit(3), PFERR_FETCH_MASK = bit(4), PFERR_PRIVATE_ACCESS = bit(49);

} // namespace seamless::kvm
