// SPDX-License-Identifier: Apache-2.0
// What differs between plain VMs and TDs: a table of functions, as in KVM. The entries of vt_x86_ops choose
// by the kind of VM; a test may copy the table and replace rows, to show what each is for.
#pragma once

#include <span>

#include "emul/emulated_cpu.h"
#include "kvm/fault.h"
#include "kvm/mmu/spte.h"
#include "spec/kvm_abi.h"

namespace seamless::cpu {
class LogicalProcessor;
}

namespace seamless::kvm {

class Vcpu;
class Vm;

enum class Fastpath : u8 { EXIT_FASTPATH_NONE, EXIT_FASTPATH_EXIT_HANDLED };

struct x86_ops {
    Result<void, Errno> (*vm_init)(Vm&);
    void (*vm_pre_destroy)(Vm&); // after the vCPUs stopped, before the MMU goes
    void (*vm_destroy)(Vm&);

    Result<void, Errno> (*vcpu_create)(Vcpu&);
    void (*vcpu_free)(Vcpu&);
    Result<void, Errno> (*vcpu_load)(Vcpu&, cpu::LogicalProcessor&);
    Handled (*vcpu_pre_run)(Vcpu&);
    Fastpath (*vcpu_run)(Vcpu&, cpu::LogicalProcessor&);
    Handled (*handle_exit)(Vcpu&, Fastpath);

    X86Emul (*check_emulate_instruction)(Vcpu&, int emul_type, std::span<const u8> insn);
    X86Emul (*check_intercept)(Vcpu&, const emul::Intercept&);

    void (*load_mmu_pgd)(Vcpu&, cpu::LogicalProcessor&);
    void (*flush_tlb_all)(Vcpu&, cpu::LogicalProcessor&);

    Result<void, Errno> (*link_external_spt)(Vm&, Gfn, unsigned level, Hpa table);
    Result<void, Errno> (*set_external_spte)(Vm&, Gfn, unsigned level, Hpa page);
    Result<void, Errno> (*remove_external_spte)(Vm&, Gfn, unsigned level, Hpa page);
    void (*free_external_spt)(Vm&, Hpa table);

    Result<u64, Errno> (*get_msr)(Vcpu&, u32 index, bool host);
    Result<void, Errno> (*set_msr)(Vcpu&, u32 index, u64 data, bool host);
    void (*msr_filter_changed)(Vcpu&);
    bool (*has_events)(Vcpu&); // what wakes a halted vCPU
    void (*deliver_interrupt)(Vcpu&, u8 vector, bool level_triggered);
    bool (*apic_init_signal_blocked)(Vcpu&); // INIT and SIPI mean nothing to it
    void (*vcpu_init)(Vcpu&);                // reset by INIT
    void (*vcpu_deliver_sipi_vector)(Vcpu&, u8 vector);

    // The MMU's rules: what an entry nobody touched holds, and what marks MMIO.
    u64 shadow_nonpresent_value;
    u64 shadow_mmio_value_vmx;
    u64 shadow_mmio_value_tdx;
};

extern const x86_ops vt_x86_ops;

} // namespace seamless::kvm
