// SPDX-License-Identifier: Apache-2.0
// Page faults of guests as KVM resolves them: memslots, attributes, MMIO. Start with kvm_mmu_page_fault().
#pragma once

#include <span>

#include "kvm/fault.h"
#include "kvm/memslots.h"

namespace seamless::kvm {

class Vcpu;

struct PageFault {
    Vcpu& vcpu;
    u64 addr = 0; // with the shared bit, as the fault reported it
    u64 error_code = 0;
    bool write = false, exec = false, present = false, rsvd = false, is_private = false;
    bool prefetch = false;
    Gfn gfn; // without the shared bit
    // What was found, and when: `slot` may be gone once the MMU's sequence has moved on.
    u64 mmu_seq = 0;
    const Memslot* slot = nullptr;
    u64 mmio_generation = 0; // of the memslots in which there was none
    Hpa page;                // what to map: the frame of `gfn`
    bool map_writable = false;
    unsigned goal_level = 0;
    bool out_of_memory = false; // set by the MMU: retrying would not help
};

// A fault at `gpa`; above 0 re-enter, 0 exit to user, errors fail KVM_RUN.
[[nodiscard]] Handled kvm_mmu_page_fault(Vcpu& vcpu, u64 gpa, u64 error_code, std::span<const u8> insn);
// The fault without emulation: KVM_PRE_FAULT_MEMORY and INIT_MEM_REGION map pages by it.
[[nodiscard]] Result<RetPf, Errno> kvm_mmu_do_page_fault(Vcpu& vcpu, u64 gpa, u64 error_code, bool prefetch);
// Maps the page at `gpa` before the guest needs it; 0, or why not.
[[nodiscard]] Result<void, Errno> kvm_tdp_map_page(Vcpu& vcpu, u64 gpa, u64 error_code);

} // namespace seamless::kvm
