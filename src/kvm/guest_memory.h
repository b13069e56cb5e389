// SPDX-License-Identifier: Apache-2.0
// KVM's own accesses to memory of a plain guest, through memslots: for the emulator and for what KVM shares
// with its guests.
#pragma once

#include <cstddef>

#include "base/bits.h"

namespace seamless::kvm {

class Vm;

// Any number of pages. False: a page is no memory, cannot be written, or the VMM has unmapped it; those
// before it are done. Takes slots_lock, shared.
[[nodiscard]] bool kvm_read_guest(Vm& vm, u64 gpa, void* data, std::size_t bytes);
[[nodiscard]] bool kvm_write_guest(Vm& vm, u64 gpa, const void* data, std::size_t bytes);
// The same for an instruction that has exited: its processor is there to recover from a host fault, so that
// the host's kernel need not be asked.
[[nodiscard]] bool kvm_vcpu_read_guest(Vm& vm, u64 gpa, void* data, std::size_t bytes);
[[nodiscard]] bool kvm_vcpu_write_guest(Vm& vm, u64 gpa, const void* data, std::size_t bytes);

} // namespace seamless::kvm
