// SPDX-License-Identifier: Apache-2.0
// The vt_ wrappers: each asks once which kind of VM it has, and goes to backend_vmx or backend_tdx.
// check_intercept has no side for TDs: their instructions are never emulated, so its callers are never
// reached.
#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/x86_ops/x86_ops.h"

namespace seamless::kvm {

namespace {

bool is_td_vcpu(Vcpu& vcpu) { return vcpu.vm().is_td(); }

Result<void, Errno> vt_vm_init(Vm& vm) { return vm.is_td() ? tdx_vm_init(vm) : vmx_vm_init(vm); }
void vt_vm_pre_destroy(Vm& vm)
{
    if (vm.is_td())
        tdx_vm_pre_destroy(vm);
}
void vt_vm_destroy(Vm& vm)
{
    if (vm.is_td())
        tdx_vm_destroy(vm);
}
Result<void, Errno> vt_vcpu_create(Vcpu& vcpu)
{
    return is_td_vcpu(vcpu) ? tdx_vcpu_create(vcpu) : vmx_vcpu_create(vcpu);
}
void vt_vcpu_free(Vcpu& vcpu) { is_td_vcpu(vcpu) ? tdx_vcpu_free(vcpu) : vmx_vcpu_free(vcpu); }
Result<void, Errno> vt_vcpu_load(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    return is_td_vcpu(vcpu) ? tdx_vcpu_load(vcpu, lp) : Result<void, Errno>{};
}
Handled vt_vcpu_pre_run(Vcpu& vcpu) { return is_td_vcpu(vcpu) ? tdx_vcpu_pre_run(vcpu) : Handled{kResume}; }
Fastpath vt_vcpu_run(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    return is_td_vcpu(vcpu) ? tdx_vcpu_run(vcpu, lp) : vmx_vcpu_run(vcpu, lp);
}
Handled vt_handle_exit(Vcpu& vcpu, Fastpath fastpath)
{
    return is_td_vcpu(vcpu) ? tdx_handle_exit(vcpu, fastpath) : vmx_handle_exit(vcpu, fastpath);
}

// The guest's handler of #VE emulates MMIO: KVM sees neither its instructions nor its registers. Re-entering
// the TD is all there is to do; the next access finds the MMIO SPTE and becomes #VE.
X86Emul vt_check_emulate_instruction(Vcpu& vcpu, int emul_type, std::span<const u8> insn)
{
    if (is_td_vcpu(vcpu))
        return X86EMUL_RETRY_INSTR;
    return vmx_check_emulate_instruction(vcpu, emul_type, insn);
}

void vt_load_mmu_pgd(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    is_td_vcpu(vcpu) ? tdx_load_mmu_pgd(vcpu, lp) : vmx_load_mmu_pgd(vcpu, lp);
}
void vt_flush_tlb_all(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    if (is_td_vcpu(vcpu))
        lp.invept_all(); // the TD's EPTP is the module's secret
    else
        vmx_flush_tlb_all(vcpu, lp);
}
Result<u64, Errno> vt_get_msr(Vcpu& vcpu, u32 index, bool host)
{
    return is_td_vcpu(vcpu) ? tdx_get_msr(vcpu, index, host) : vmx_get_msr(vcpu, index, host);
}
Result<void, Errno> vt_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host)
{
    return is_td_vcpu(vcpu) ? tdx_set_msr(vcpu, index, data, host) : vmx_set_msr(vcpu, index, data, host);
}
// A TD's MSRs reach KVM by TDVMCALL only, where the filter is asked each time.
void vt_msr_filter_changed(Vcpu& vcpu)
{
    if (!is_td_vcpu(vcpu))
        vmx_msr_filter_changed(vcpu);
}
bool vt_has_events(Vcpu& vcpu) { return is_td_vcpu(vcpu) ? tdx_has_events(vcpu) : vmx_has_events(vcpu); }
void vt_deliver_interrupt(Vcpu& vcpu, u8 vector, bool level_triggered)
{
    is_td_vcpu(vcpu) ? tdx_deliver_interrupt(vcpu, vector)
                     : vmx_deliver_interrupt(vcpu, vector, level_triggered);
}
// A TD's vCPUs start by TDH.VP.INIT and meet in the firmware; the host cannot reset one.
bool vt_apic_init_signal_blocked(Vcpu& vcpu) { return is_td_vcpu(vcpu); }
void vt_vcpu_init(Vcpu& vcpu)
{
    if (!is_td_vcpu(vcpu))
        vmx_vcpu_init(vcpu);
}
void vt_vcpu_deliver_sipi_vector(Vcpu& vcpu, u8 vector)
{
    if (!is_td_vcpu(vcpu))
        vmx_vcpu_deliver_sipi_vector(vcpu, vector);
}

} // namespace

constinit const x86_ops vt_x86_ops = {
    .vm_init = vt_vm_init,
    .vm_pre_destroy = vt_vm_pre_destroy,
    .vm_destroy = vt_vm_destroy,
    .vcpu_create = vt_vcpu_create,
    .vcpu_free = vt_vcpu_free,
    .vcpu_load = vt_vcpu_load,
    .vcpu_pre_run = vt_vcpu_pre_run,
    .vcpu_run = vt_vcpu_run,
    .handle_exit = vt_handle_exit,
    .check_emulate_instruction = vt_check_emulate_instruction,
    .check_intercept = vmx_check_intercept,
    .load_mmu_pgd = vt_load_mmu_pgd,
    .flush_tlb_all = vt_flush_tlb_all,
    .link_external_spt = tdx_sept_link_private_spt,
    .set_external_spte = tdx_sept_set_private_spte,
    .remove_external_spte = tdx_sept_remove_private_spte,
    .free_external_spt = tdx_sept_free_private_spt,
    .get_msr = vt_get_msr,
    .set_msr = vt_set_msr,
    .msr_filter_changed = vt_msr_filter_changed,
    .has_events = vt_has_events,
    .deliver_interrupt = vt_deliver_interrupt,
    .apic_init_signal_blocked = vt_apic_init_signal_blocked,
    .vcpu_init = vt_vcpu_init,
    .vcpu_deliver_sipi_vector = vt_vcpu_deliver_sipi_vector,
    .shadow_nonpresent_value = SHADOW_NONPRESENT_VALUE,
    .shadow_mmio_value_vmx = SHADOW_MMIO_VALUE_VMX,
    .shadow_mmio_value_tdx = 0,
};

} // namespace seamless::kvm
