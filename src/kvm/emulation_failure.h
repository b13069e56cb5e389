// SPDX-License-Identifier: Apache-2.0
// What KVM does about instructions it cannot emulate.
#pragma once

#include <span>

#include "kvm/fault.h"

namespace seamless::kvm {

class Vcpu;

// #UD for the guest, and an exit where the guest is a kernel or the VMM asked for it.
[[nodiscard]] Handled handle_emulation_failure(Vcpu& vcpu, int emul_type, std::span<const u8> insn);
// KVM_EXIT_INTERNAL_ERROR for an access of event delivery itself.
[[nodiscard]] Handled prepare_event_vectoring_exit(Vcpu& vcpu, u64 gpa);

} // namespace seamless::kvm
