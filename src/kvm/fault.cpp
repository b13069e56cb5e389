// SPDX-License-Identifier: Apache-2.0
// Names of KVM's codes, as its tracepoints print them.
#include "kvm/fault.h"

#include <iterator>

namespace seamless::kvm {

const char* name_of(RetPf r)
{
    static constexpr const char* kNames[] = {"RET_PF_CONTINUE",        "RET_PF_RETRY",   "RET_PF_EMULATE",
                                             "RET_PF_WRITE_PROTECTED", "RET_PF_INVALID", "RET_PF_FIXED",
                                             "RET_PF_SPURIOUS"};
    const auto i = static_cast<unsigned>(r);
    return i < std::size(kNames) ? kNames[i] : "UNKNOWN";
}

} // namespace seamless::kvm
