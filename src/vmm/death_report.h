// SPDX-License-Identifier: Apache-2.0
// What killed a guest as KVM says it, in words for the author of the guest. The rest of a report is made once
// the machine stands still: report/.
#pragma once

#include <string>

#include "vmm/vcpu.h"

namespace seamless::vmm {

[[nodiscard]] std::string report_fatal_error(const Vcpu& vcpu);
[[nodiscard]] std::string report_triple_fault(const Vcpu& vcpu);
[[nodiscard]] std::string report_internal_error(const Vcpu& vcpu);
[[nodiscard]] std::string report_entry_failure(const Vcpu& vcpu);
[[nodiscard]] std::string report_memory_fault(const Vcpu& vcpu, int error);
[[nodiscard]] std::string report_dead_vm(const Vcpu& vcpu, bool td);

} // namespace seamless::vmm
