// SPDX-License-Identifier: Apache-2.0
// KVM's codes around the emulator: X86EMUL_*, EMULATION_*, EMULTYPE_*. The numbers are KVM's.
#pragma once

#include "base/bits.h"

namespace seamless::emul {

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

enum class Emulation : int { FAILED = -1, OK = 0, RESTART = 1, INTERCEPTED = 2 };

inline constexpr int EMULTYPE_NO_DECODE = 0x1, EMULTYPE_TRAP_UD = 0x2, EMULTYPE_SKIP = 0x4,
                     EMULTYPE_ALLOW_RETRY_PF = 0x8, EMULTYPE_PF = 0x40, EMULTYPE_WRITE_PF_TO_SP = 0x100;

} // namespace seamless::emul
