// SPDX-License-Identifier: Apache-2.0
// Names of the emulator's codes, as traces print them.
#include "emul/codes.h"

#include <iterator>

namespace seamless::emul {

const char* name_of(X86Emul r)
{
    static constexpr const char* kNames[] = {"X86EMUL_CONTINUE",        "X86EMUL_UNHANDLEABLE",
                                             "X86EMUL_PROPAGATE_FAULT", "X86EMUL_RETRY_INSTR",
                                             "X86EMUL_CMPXCHG_FAILED",  "X86EMUL_IO_NEEDED",
                                             "X86EMUL_INTERCEPTED",     "X86EMUL_UNHANDLEABLE_VECTORING"};
    const auto i = static_cast<unsigned>(r);
    return i < std::size(kNames) ? kNames[i] : "UNKNOWN";
}

} // namespace seamless::emul
