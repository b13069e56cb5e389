// SPDX-License-Identifier: Apache-2.0
// Reports of a guest's death, in words for the author of the guest.
#pragma once

#include <string>

#include "vmm/vcpu.h"

namespace seamless::vmm {

[[nodiscard]] std::string report_fatal_error(const Vcpu& vcpu);
[[nodiscard]] std::string report_triple_fault(const Vcpu& vcpu, bool td);
[[nodiscard]] std::string report_internal_error(const Vcpu& vcpu, bool td);
[[nodiscard]] std::string report_entry_failure(const Vcpu& vcpu);
[[nodiscard]] std::string report_memory_fault(const Vcpu& vcpu, int error);
[[nodiscard]] std::string report_dead_vm(const Vcpu& vcpu, bool td);
// What the VMM may see of the registers: one line a plain VM, a remark for a TD.
[[nodiscard]] std::string registers_line(const Vcpu& vcpu, bool td);

} // namespace seamless::vmm
