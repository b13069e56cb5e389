// SPDX-License-Identifier: Apache-2.0
// KVM's back end for TDs: state of a TD and of its vCPUs, and the functions that the vt_ wrappers call.
// Everything it does to a TD is a SEAMCALL; of the guest it sees the registers that TDH.VP.ENTER returns.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "kvm/fault.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

enum class TdState : u8 { UNINITIALIZED, INITIALIZED, RUNNABLE };

struct KvmTdx {
    TdState state = TdState::UNINITIALIZED;
    int hkid = -1;
    Hpa tdr;
    std::vector<Hpa> tdcs;
    u64 attributes = 0, xfam = 0;
    u64 tsc_offset = 0, tsc_multiplier = 0;
    std::atomic<i64> nr_premapped{0}; // pages in the mirror that wait for TDH.MEM.PAGE.ADD
    std::atomic<bool> wait_for_sept_zap{false};

    [[nodiscard]] bool has_hkid() const { return hkid >= 0; }
};

// SDM: "Posted-Interrupt Descriptor".
struct PiDesc {
    u64 pir[4];
    u64 control; // ON 0, SN 1, NV 23:16
    u64 rsvd[3];
};
static_assert(sizeof(PiDesc) == 64);
inline constexpr u8 POSTED_INTR_VECTOR = 0xf2;

struct VcpuTdx {
    bool initialized = false; // VCPU_TD_STATE_INITIALIZED
    Hpa tdvpr;
    std::vector<Hpa> tdcx;
    Hpa pi_desc_page;
    unsigned associated = Processors::kAny; // the processor whose VMCS region holds the vCPU

    // Registers of the last TDH.VP.ENTER: its outputs, and the answer to a TDVMCALL that travels in.
    cpu::SeamRegs args;
    u64 vp_enter_ret = 0;
    u32 exit_reason = 0; // KVM's own reading; ~0: none
    u64 exit_qualification = 0, ext_exit_qualification = 0, exit_gpa = 0;
    u32 exit_intr_info = 0;
    bool answer_pending = false; // a TDVMCALL's answer is in args and not traced yet
    u64 map_gpa_next = 0, map_gpa_end = 0;

    [[nodiscard]] PiDesc& pi() { return *mem::host_ptr<PiDesc>(pi_desc_page); }
    void set_status(spec::TdvmcallStatus s) { args.r10 = static_cast<u64>(s); }
};

[[nodiscard]] inline TdxHost& tdx_host(Vm& vm) { return *vm.kvm().tdx(); }

// Lifetime.
[[nodiscard]] Result<void, Errno> tdx_vm_init(Vm& vm);
void tdx_vm_pre_destroy(Vm& vm);
void tdx_vm_destroy(Vm& vm);
[[nodiscard]] Result<void, Errno> tdx_vcpu_create(Vcpu& vcpu);
void tdx_vcpu_free(Vcpu& vcpu);
[[nodiscard]] Result<void, Errno> tdx_vcpu_load(Vcpu& vcpu, cpu::LogicalProcessor& lp);
void tdx_flush_vp_on_cpu(Vcpu& vcpu);
// Gives a page back: TDH.PHYMEM.PAGE.RECLAIM, then zeroed and free. False: the page is lost.
bool tdx_reclaim_page(Vm& vm, Hpa page);

// Commands of KVM_MEMORY_ENCRYPT_OP. uapi copies; these check, in KVM's order, and act.
struct TdxCapabilities {
    u64 supported_attrs, supported_xfam, user_tdvmcallinfo_1_r11;
    std::vector<spec::kvm::kvm_cpuid_entry2> cpuid;
};
[[nodiscard]] Result<TdxCapabilities, Errno> tdx_get_capabilities(Vm& vm);
[[nodiscard]] Result<void, Errno> tdx_init_vm(Vm& vm, const spec::kvm::kvm_tdx_init_vm& params,
                                              std::span<const spec::kvm::kvm_cpuid_entry2> cpuid,
                                              u64& hw_error);
[[nodiscard]] Result<void, Errno> tdx_init_vcpu(Vcpu& vcpu, u64 initial_rcx, u64& hw_error);
// `region` advances with each page.
[[nodiscard]] Result<void, Errno> tdx_init_mem_region(Vcpu& vcpu, spec::kvm::kvm_tdx_init_mem_region& region,
                                                      bool measure, u64& hw_error);
[[nodiscard]] Result<void, Errno> tdx_finalize_vm(Vm& vm, u64& hw_error);
[[nodiscard]] Result<std::vector<spec::kvm::kvm_cpuid_entry2>, Errno> tdx_get_cpuid(Vcpu& vcpu);

// Running.
[[nodiscard]] Handled tdx_vcpu_pre_run(Vcpu& vcpu);
[[nodiscard]] Fastpath tdx_vcpu_run(Vcpu& vcpu, cpu::LogicalProcessor& lp);
[[nodiscard]] Handled tdx_handle_exit(Vcpu& vcpu, Fastpath fastpath);
void tdx_load_mmu_pgd(Vcpu& vcpu, cpu::LogicalProcessor& lp);
[[nodiscard]] bool tdx_has_events(Vcpu& vcpu);
void tdx_deliver_interrupt(Vcpu& vcpu, u8 vector);
[[nodiscard]] Result<u64, Errno> tdx_get_msr(Vcpu& vcpu, u32 index, bool host);
[[nodiscard]] Result<void, Errno> tdx_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host);

// TDVMCALLs; an answer is in tdx.args when they return kResume.
[[nodiscard]] Handled tdx_emulate_mmio(Vcpu& vcpu);
[[nodiscard]] Handled tdx_emulate_io(Vcpu& vcpu);
[[nodiscard]] Handled tdx_emulate_instruction_call(Vcpu& vcpu, u32 reason); // CPUID, HLT, MSRs
[[nodiscard]] Handled tdx_emulate_vmcall(Vcpu& vcpu);
[[nodiscard]] Handled handle_tdvmcall(Vcpu& vcpu);

// The mirror and the secure EPT.
[[nodiscard]] Result<void, Errno> tdx_sept_link_private_spt(Vm& vm, Gfn gfn, unsigned level, Hpa table);
[[nodiscard]] Result<void, Errno> tdx_sept_set_private_spte(Vm& vm, Gfn gfn, unsigned level, Hpa page);
[[nodiscard]] Result<void, Errno> tdx_sept_remove_private_spte(Vm& vm, Gfn gfn, unsigned level, Hpa page);
void tdx_sept_free_private_spt(Vm& vm, Hpa table);

} // namespace seamless::kvm
