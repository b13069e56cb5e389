// SPDX-License-Identifier: Apache-2.0
// The state in which a TD's vCPU starts, and the controls it runs under.
#pragma once

#include "tdx/td.h"

namespace seamless::tdx {

// `rcx` is the operand of TDH.VP.INIT.
void set_initial_state(Vcpu& vcpu, u64 rcx);

} // namespace seamless::tdx
