// SPDX-License-Identifier: Apache-2.0
// x86_emulate_instruction(): how KVM emulates what made a guest exit. TDs stop at its first question, the
// x86_ops' check_emulate_instruction.
#pragma once

#include <span>

#include "kvm/fault.h"

namespace seamless::kvm {

class Vcpu;

// `gpa` is where the access faulted, for EMULTYPE_PF. Above 0 the guest goes on, 0 leaves to user space.
[[nodiscard]] Handled x86_emulate_instruction(Vcpu& vcpu, u64 gpa, int emul_type, std::span<const u8> insn);

} // namespace seamless::kvm
