// SPDX-License-Identifier: Apache-2.0
// The VMCS of a plain vCPU: controls, reset state, entry, event injection.
#include "kvm/backend_vmx/vmx.h"

#include <cstring>

#include "kvm/kvm.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

// VM-entry and VM-exit controls. SDM: "VM-Entry Controls", "Primary VM-Exit Controls".
constexpr u32 kEntryIa32eGuest = 1u << 9, kEntryLoadPat = 1u << 14, kEntryLoadEfer = 1u << 15;
constexpr u32 kExitHost64 = 1u << 9, kExitAckInterrupt = 1u << 15, kExitSavePat = 1u << 18,
              kExitLoadPat = 1u << 19, kExitSaveEfer = 1u << 20, kExitLoadEfer = 1u << 21;

// The guest owns all of CR0 and CR4 but what VMX fixes (NE, VMXE): it reads these from the shadow.
constexpr u64 kCr0HostOwned = cr0::NE, kCr4HostOwned = cr4::VMXE;

Segment real_mode_segment(u16 selector, u64 base, u32 ar)
{
    return {.base = base, .limit = 0xffff, .ar = ar, .selector = selector};
}

// SDM: "Processor State After Reset".
void reset_guest_state(cpu::Vmcs& v, cpu::GuestContext& context)
{
    constexpr u32 kData = 0x93, kCode = 0x9b, kLdt = 0x82, kTss = 0x8b;
    for (const Seg s : {Seg::es, Seg::ss, Seg::ds, Seg::fs, Seg::gs})
        v.seg[static_cast<unsigned>(s)] = real_mode_segment(0, 0, kData);
    v.seg[static_cast<unsigned>(Seg::cs)] = real_mode_segment(0xf000, 0xffff0000, kCode);
    v.seg[static_cast<unsigned>(Seg::ldtr)] = real_mode_segment(0, 0, kLdt);
    v.seg[static_cast<unsigned>(Seg::tr)] = real_mode_segment(0, 0, kTss);
    v.gdtr.limit = v.idtr.limit = 0xffff;
    v.rip = 0xfff0;
    v.rflags = rflags::FIXED1;
    context[Gpr::rdx] = 0x600;
}

void clear_intercept(Hpa bitmap, u32 msr, bool write)
{
    // SDM: "MSR-Bitmap Address": low reads, high reads, low writes, high writes, 1 KiB each.
    const u32 half = (msr >= 0xc0000000 ? 1024 : 0) + (write ? 2048 : 0), n = msr & 0x1fff;
    u8& byte = mem::host_ptr<u8>(bitmap)[half + n / 8];
    byte = static_cast<u8>(byte & ~(1u << n % 8));
}

constexpr struct {
    Msr msr;
    bool write;
} kPassedThrough[] = {
    {Msr::IA32_TSC, false},           {Msr::IA32_FS_BASE, true},     {Msr::IA32_GS_BASE, true},
    {Msr::IA32_KERNEL_GS_BASE, true}, {Msr::IA32_SYSENTER_CS, true}, {Msr::IA32_SYSENTER_ESP, true},
    {Msr::IA32_SYSENTER_EIP, true},   {Msr::IA32_STAR, true},        {Msr::IA32_LSTAR, true},
    {Msr::IA32_CSTAR, true},          {Msr::IA32_FMASK, true},
};

void init_vmcs(Vcpu& vcpu)
{
    VcpuVmx& vmx = *vcpu.vmx;
    cpu::Vmcs& v = vmx.vmcs;
    v.pin_based = pin::EXTERNAL_INTERRUPT_EXITING | pin::NMI_EXITING | pin::VIRTUAL_NMIS;
    v.proc_based = proc::TSC_OFFSETTING | proc::HLT_EXITING | proc::MWAIT_EXITING | proc::MONITOR_EXITING |
                   proc::RDPMC_EXITING | proc::UNCONDITIONAL_IO_EXITING | proc::MSR_BITMAPS |
                   proc::SECONDARY_CONTROLS;
    // CR8 is a view of the APIC's task priority, be the APIC here or in user space.
    v.proc_based |= proc::CR8_LOAD_EXITING | proc::CR8_STORE_EXITING;
    v.proc_based2 = proc2::EPT | proc2::RDTSCP | proc2::VPID | proc2::UNRESTRICTED_GUEST | proc2::INVPCID |
                    proc2::WBINVD_EXITING | proc2::XSAVES;
    v.exception_bitmap = 1u << static_cast<u8>(Vector::MC);
    v.entry_controls = kEntryLoadPat | kEntryLoadEfer;
    v.exit_controls =
        kExitHost64 | kExitAckInterrupt | kExitSavePat | kExitLoadPat | kExitSaveEfer | kExitLoadEfer;
    v.vpid = static_cast<u16>(vcpu.id + 1);
    v.msr_bitmap = vmx.msr_bitmap.value();
    v.cr0_guest_host_mask = kCr0HostOwned;
    v.cr4_guest_host_mask = kCr4HostOwned;
    v.tsc_offset = ~vcpu.vm().tsc_at_creation + 1; // all start together, from 0
    reset_guest_state(v, vmx.context);
    vmx_set_cr0(vmx, cr0::CD | cr0::NW | cr0::ET);
    vmx_set_cr4(vmx, 0);
}

} // namespace

Result<void, Errno> vmx_vm_init(Vm&) { return {}; }

Result<void, Errno> vmx_vcpu_create(Vcpu& vcpu)
{
    vcpu.vmx = std::make_unique<VcpuVmx>();
    vcpu.vmx->msr_bitmap = TRY(vcpu.vm().memory().alloc_page());
    vmx_msr_filter_changed(vcpu);
    init_vmcs(vcpu);
    vcpu.vmx->emulation = std::make_unique<VcpuEmulation>(vcpu);
    return {};
}

void vmx_msr_filter_changed(Vcpu& vcpu)
{
    const MsrFilter& filter = vcpu.vm().msr_filter;
    const Hpa bitmap = vcpu.vmx->msr_bitmap;
    std::memset(mem::host_ptr(bitmap), 0xff, kPageSize);
    for (const auto& row : kPassedThrough) {
        const auto msr = static_cast<u32>(row.msr);
        if (filter.allows(msr, KVM_MSR_FILTER_READ))
            clear_intercept(bitmap, msr, false);
        if (row.write && filter.allows(msr, KVM_MSR_FILTER_WRITE))
            clear_intercept(bitmap, msr, true);
    }
}

void vmx_vcpu_free(Vcpu& vcpu)
{
    if (!vcpu.vmx)
        return;
    vcpu.vm().memory().free_page(vcpu.vmx->msr_bitmap);
    vcpu.vmx.reset();
}

u64 vmx_cr0(const VcpuVmx& vmx)
{
    return (vmx.vmcs.cr0 & ~kCr0HostOwned) | (vmx.vmcs.cr0_read_shadow & kCr0HostOwned);
}
u64 vmx_cr4(const VcpuVmx& vmx)
{
    return (vmx.vmcs.cr4 & ~kCr4HostOwned) | (vmx.vmcs.cr4_read_shadow & kCr4HostOwned);
}

void vmx_set_cr0(VcpuVmx& vmx, u64 value)
{
    vmx.vmcs.cr0 = value | kCr0HostOwned | cr0::ET;
    vmx.vmcs.cr0_read_shadow = value | cr0::ET;
}

void vmx_set_cr4(VcpuVmx& vmx, u64 value)
{
    vmx.vmcs.cr4 = value | kCr4HostOwned;
    vmx.vmcs.cr4_read_shadow = value;
}

void vmx_queue_exception(Vcpu& vcpu, Vector vector, u32 error_code)
{
    VcpuVmx& vmx = *vcpu.vmx;
    vmx.inject_info = intr_info::VALID | intr_info::HARDWARE_EXCEPTION | static_cast<u32>(vector);
    const bool real_mode = !(vmx.vmcs.cr0 & cr0::PE);
    if (has_error_code(vector) && !real_mode)
        vmx.inject_info |= intr_info::ERROR_CODE;
    vmx.inject_error = error_code;
}

void vmx_skip_instruction(Vcpu& vcpu)
{
    cpu::Vmcs& v = vcpu.vmx->vmcs;
    v.rip += v.exit_instruction_len;
    const bool code64 = (v.efer & efer::LMA) && (v.seg[static_cast<unsigned>(Seg::cs)].ar & segment_ar::L);
    if (!code64)
        v.rip = static_cast<u32>(v.rip);
    v.interruptibility &= ~(interruptibility::STI | interruptibility::MOV_SS);
    v.rflags &= ~rflags::RF;
}

void vmx_load_mmu_pgd(Vcpu& vcpu, cpu::LogicalProcessor&)
{
    const TdpMmu& mmu = vcpu.vm().mmu;
    vcpu.vmx->vmcs.ept_pointer =
        mmu.direct_root().value() | ept::EPTP_WB | ept::EPTP_AD | ept::eptp_walk_length(mmu.levels());
}

void vmx_flush_tlb_all(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    // The VPID may have served another VM's vCPU on this processor.
    lp.invvpid(vcpu.vmx->vmcs.vpid);
    lp.invept_single(vcpu.vmx->vmcs.ept_pointer);
}

Fastpath vmx_vcpu_run(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    VcpuVmx& vmx = *vcpu.vmx;
    cpu::Vmcs& v = vmx.vmcs;
    vmx_inject_events(vcpu);
    v.entry_controls = (v.entry_controls & ~kEntryIa32eGuest) | (v.efer & efer::LMA ? kEntryIa32eGuest : 0);
    v.idt_vectoring_info = 0;
    TRACE(vcpu.trace(), trace::Event::kvm_entry, v.rip);
    vmx_begin_step(vmx);
    vmx.dr6_at_entry = vmx.context.dr6;
    lp.vm_enter(v, vmx.context);
    vmx_end_step(vmx);
    const auto reason = static_cast<ExitReason>(v.exit_reason & 0xffff);
    const bool has_gpa = reason == ExitReason::EPT_VIOLATION || reason == ExitReason::EPT_MISCONFIG;
    TRACE(vcpu.trace(), trace::Event::kvm_exit, exit_reason_name(reason), exit_reason_name(reason),
          v.exit_qualification,
          has_gpa ? trace::Value(v.guest_physical_address) : trace::Value(trace::Absent{}), "plain");
    vmx_complete_interrupts(vmx);
    return Fastpath::EXIT_FASTPATH_NONE;
}

void vmx_post_run(Vcpu& vcpu)
{
    const VcpuVmx& vmx = *vcpu.vmx;
    kvm_run& run = vcpu.run();
    run.if_flag = (vmx.vmcs.rflags & rflags::IF) != 0;
    run.cr8 = vmx_cr8(vcpu);
    run.apic_base = vcpu.lapic.base();
    run.ready_for_interrupt_injection = vmx_ready_for_injection(vcpu);
}

// SDM: "Processor State After Reset", the column of INIT: extended state, MSRs and caches stay.
void vmx_vcpu_init(Vcpu& vcpu)
{
    VcpuVmx& vmx = *vcpu.vmx;
    cpu::Vmcs& v = vmx.vmcs;
    for (u64& gpr : vmx.context.gpr)
        gpr = 0;
    const u64 caching = vmx_cr0(vmx) & (cr0::CD | cr0::NW);
    reset_guest_state(v, vmx.context);
    v.rsp = v.cr3 = v.efer = v.debugctl = v.pending_dbg_exceptions = 0;
    v.sysenter_cs = v.sysenter_esp = v.sysenter_eip = 0;
    v.gdtr.base = v.idtr.base = 0;
    v.dr7 = dr7::kReset;
    v.interruptibility = 0;
    v.activity = Activity::active;
    vmx.context.cr2 = vmx.context.cr8 = 0;
    vmx.context.dr6 = dr6::kReset;
    for (u64& dr : vmx.context.dr)
        dr = 0;
    vmx.inject_info = 0;
    vcpu.pv_time.reset();
    vmx_set_cr0(vmx, caching | cr0::ET);
    vmx_set_cr4(vmx, 0);
    vcpu.make_request(KVM_REQ_TLB_FLUSH);
}

// SDM: "MP Initialization Protocol": real mode at page `vector`.
void vmx_vcpu_deliver_sipi_vector(Vcpu& vcpu, u8 vector)
{
    cpu::Vmcs& v = vcpu.vmx->vmcs;
    Segment& cs = v.seg[static_cast<unsigned>(Seg::cs)];
    cs.selector = static_cast<u16>(vector << 8);
    cs.base = u64{vector} << kPageShift;
    v.rip = 0;
}

X86Emul vmx_check_emulate_instruction(Vcpu& vcpu, int emul_type, std::span<const u8>)
{
    // An access of the event delivery itself: emulating the instruction at RIP would lose the event.
    if ((emul_type & EMULTYPE_PF) && (vcpu.vmx->vmcs.idt_vectoring_info & intr_info::VALID))
        return X86EMUL_UNHANDLEABLE_VECTORING;
    return X86EMUL_CONTINUE;
}

// Nested guests are what it is for; there are none yet, so nothing is intercepted.
X86Emul vmx_check_intercept(Vcpu&, const emul::Intercept&) { return X86EMUL_CONTINUE; }

} // namespace seamless::kvm
