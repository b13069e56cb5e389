// SPDX-License-Identifier: Apache-2.0
// KVM's own hypercalls: VMCALL in a plain VM, TDG.VP.VMCALL with R10 other than 0 in a TD. KVM API: "Linux
// KVM Hypercall", KVM_CAP_EXIT_HYPERCALL.
#pragma once

#include <array>
#include <optional>

#include "kvm/vcpu.h"

namespace seamless::kvm {

struct Hypercall {
    u64 nr = 0;
    std::array<u64, 3> args{};
    bool long_mode = true; // else only 32 bits of each count
    unsigned cpl = 0;
};

// What it returns to the guest. Nothing: vcpu.run() asks user space, whose answer will be run.hypercall.ret.
[[nodiscard]] std::optional<u64> kvm_hypercall(Vcpu& vcpu, const Hypercall& call);

} // namespace seamless::kvm
