// SPDX-License-Identifier: Apache-2.0
// KVM's back end for plain VMs: a VMCS per vCPU, its exits, and the registers that user space may read and
// write.
#pragma once

#include <span>

#include "cpu/guest_context.h"
#include "cpu/vmx/vmcs.h"
#include "kvm/emulation.h"
#include "kvm/fault.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "kvm/x86_ops/x86_ops.h"

namespace seamless::kvm {

struct VcpuVmx {
    cpu::Vmcs vmcs;
    cpu::GuestContext context;
    Hpa msr_bitmap;
    // An event to inject at the next entry: an exception KVM raised, or one whose delivery an exit
    // interrupted.
    u32 inject_info = 0;
    u32 inject_error = 0;
    u32 inject_length = 0;
    std::unique_ptr<VcpuEmulation> emulation;

    // KVM_SET_GUEST_DEBUG: its control, 0 without KVM_GUESTDBG_ENABLE, and what it puts aside.
    u32 guest_debug = 0;
    u64 guest_dr[4] = {}, guest_dr7 = 0;
    bool step_flag_is_ours = false;
    u64 dr6_at_entry = 0;
    u32 debug_event_length = 0; // of the instruction that made the last debug exit
    [[nodiscard]] bool debugger_has_registers() const
    {
        return guest_debug & spec::kvm::KVM_GUESTDBG_USE_HW_BP;
    }
};

[[nodiscard]] Result<void, Errno> vmx_vm_init(Vm& vm);
[[nodiscard]] Result<void, Errno> vmx_vcpu_create(Vcpu& vcpu);
void vmx_vcpu_free(Vcpu& vcpu);
[[nodiscard]] Fastpath vmx_vcpu_run(Vcpu& vcpu, cpu::LogicalProcessor& lp);
[[nodiscard]] Handled vmx_handle_exit(Vcpu& vcpu, Fastpath fastpath);
void vmx_post_run(Vcpu& vcpu); // what kvm_run shows of the vCPU after KVM_RUN
void vmx_load_mmu_pgd(Vcpu& vcpu, cpu::LogicalProcessor& lp);
void vmx_flush_tlb_all(Vcpu& vcpu, cpu::LogicalProcessor& lp);
[[nodiscard]] bool vmx_has_events(Vcpu& vcpu);
void vmx_deliver_interrupt(Vcpu& vcpu, u8 vector, bool level_triggered);
void vmx_vcpu_init(Vcpu& vcpu); // what INIT resets
void vmx_vcpu_deliver_sipi_vector(Vcpu& vcpu, u8 vector);
// CR8 as the guest sees it: the APIC's task priority where the APIC is here.
[[nodiscard]] u64 vmx_cr8(Vcpu& vcpu);
void vmx_set_cr8(Vcpu& vcpu, u64 value);
// Events between two entries (events.cpp): what the next entry injects, and what an exit interrupted.
void vmx_inject_events(Vcpu& vcpu);
void vmx_complete_interrupts(VcpuVmx& vmx);
[[nodiscard]] bool vmx_interrupts_allowed(const cpu::Vmcs& vmcs);
[[nodiscard]] bool vmx_ready_for_injection(Vcpu& vcpu);
void vmx_get_events(Vcpu& vcpu, spec::kvm::kvm_vcpu_events& events);
[[nodiscard]] Result<void, Errno> vmx_set_events(Vcpu& vcpu, const spec::kvm::kvm_vcpu_events& events);
[[nodiscard]] X86Emul vmx_check_emulate_instruction(Vcpu& vcpu, int emul_type, std::span<const u8> insn);
[[nodiscard]] X86Emul vmx_check_intercept(Vcpu& vcpu, const emul::Intercept& intercept);

[[nodiscard]] Result<u64, Errno> vmx_get_msr(Vcpu& vcpu, u32 index, bool host);
[[nodiscard]] Result<void, Errno> vmx_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host);
[[nodiscard]] std::span<const u32> vmx_msr_index_list();
void vmx_msr_filter_changed(Vcpu& vcpu);

// A debugger in user space (debug.cpp).
[[nodiscard]] Result<void, Errno> vmx_set_guest_debug(Vcpu& vcpu, const spec::kvm::kvm_guest_debug& debug);
void vmx_begin_step(VcpuVmx& vmx); // around an entry
void vmx_end_step(VcpuVmx& vmx);
// True if an instruction that KVM completes must trap, and that trap: the guest's or the debugger's.
[[nodiscard]] bool vmx_steps(const VcpuVmx& vmx);
[[nodiscard]] Handled vmx_do_singlestep(Vcpu& vcpu);
[[nodiscard]] Handled vmx_handle_debug_exception(Vcpu& vcpu, spec::Vector vector);
// The guest's own debug register: 0 to 3, 6, 7.
[[nodiscard]] u64& vmx_guest_dr(VcpuVmx& vmx, unsigned n);
// MOV DR that exited; false: #GP.
[[nodiscard]] bool vmx_access_dr(Vcpu& vcpu, u64 qualification);

// Raised by KVM in place of the instruction that exited.
void vmx_queue_exception(Vcpu& vcpu, spec::Vector vector, u32 error_code = 0);
// CPUID as the guest executes it: what follows CR4 and XCR0 included.
void vmx_cpuid(const Vcpu& vcpu, u32& eax, u32& ebx, u32& ecx, u32& edx);
void vmx_skip_instruction(Vcpu& vcpu);

void vmx_get_regs(Vcpu& vcpu, spec::kvm::kvm_regs& regs);
void vmx_set_regs(Vcpu& vcpu, const spec::kvm::kvm_regs& regs);
void vmx_get_sregs2(Vcpu& vcpu, spec::kvm::kvm_sregs2& sregs);
[[nodiscard]] Result<void, Errno> vmx_set_sregs2(Vcpu& vcpu, const spec::kvm::kvm_sregs2& sregs);
// XCR0 bits that a guest may have.
[[nodiscard]] u64 kvm_supported_xcr0();
// Guest CR0 and CR4 with the bits that KVM owns hidden or forced.
[[nodiscard]] u64 vmx_cr0(const VcpuVmx& vmx);
[[nodiscard]] u64 vmx_cr4(const VcpuVmx& vmx);
void vmx_set_cr0(VcpuVmx& vmx, u64 value);
void vmx_set_cr4(VcpuVmx& vmx, u64 value);

} // namespace seamless::kvm
