// SPDX-License-Identifier: Apache-2.0
// TDX ABI: "TD VCPU Initial State". 32-bit protected mode, paging off, flat segments, at the reset vector.
#include "tdx/guest/initial_state.h"

#include "tdx/guest/control_registers.h"
#include "tdx/guest/td_cpuid.h"

namespace seamless::tdx {
namespace {

using namespace spec;

void set_controls(Vcpu& vcpu)
{
    cpu::Vmcs& vmcs = vcpu.vmcs;
    const Td& td = vcpu.td;
    const cpu::CpuidResult* features = td.find_cpuid(7, 0);
    const bool waitpkg = features && test(features->ecx, 5);
    vmcs.pin_based = pin::EXTERNAL_INTERRUPT_EXITING | pin::NMI_EXITING | pin::VIRTUAL_NMIS;
    vmcs.proc_based = proc::TSC_OFFSETTING | proc::HLT_EXITING | proc::MWAIT_EXITING | proc::RDPMC_EXITING |
                      proc::TPR_SHADOW | proc::UNCONDITIONAL_IO_EXITING | proc::MSR_BITMAPS |
                      proc::MONITOR_EXITING | proc::SECONDARY_CONTROLS;
    vmcs.proc_based2 = proc2::EPT | proc2::RDTSCP | proc2::VIRTUALIZE_X2APIC | proc2::VPID |
                       proc2::WBINVD_EXITING | proc2::UNRESTRICTED_GUEST |
                       proc2::APIC_REGISTER_VIRTUALIZATION | proc2::VIRTUAL_INTERRUPT_DELIVERY |
                       proc2::INVPCID | proc2::EPT_VIOLATION_VE | proc2::XSAVES | proc2::TSC_SCALING |
                       (waitpkg ? proc2::USER_WAIT_PAUSE : 0);
    vmcs.exception_bitmap = 1u << static_cast<unsigned>(Vector::MC);
    vmcs.vpid = static_cast<u16>(vcpu.index + 1); // tells the vCPUs of a TD apart on one processor
    vmcs.ept_pointer = td.eptp();
    vmcs.shared_ept_pointer = td.tdcx[kTdcsZeroPage].value() | td.eptp_controls;
    vmcs.msr_bitmap = td.tdcx[kTdcsMsrBitmap].value();
    vmcs.tsc_offset = td.tsc_offset;
    vmcs.tsc_multiplier = td.tsc_multiplier;
    vmcs.virtual_apic_page = vcpu.virtual_apic_page().value();
    vmcs.ve_information_address = vcpu.tdvpr.value();
    vmcs.td_shared_bit = td.shared_bit();
    vmcs.cr0_guest_host_mask = kCr0Owned;
    vmcs.cr0_read_shadow = cr0::PE | cr0::NE;
    vmcs.cr4_guest_host_mask = cr4_owned(td);
    vmcs.cr4_read_shadow = cr4::MCE;
}

void set_segments(cpu::Vmcs& vmcs)
{
    constexpr u32 kCode = 0xc09b, kData = 0xc093, kNoLdt = 0x10082, kTss = 0x8b;
    for (Segment& s : vmcs.seg)
        s = {.base = 0, .limit = 0xffffffff, .ar = kData, .selector = 0};
    vmcs.seg[static_cast<unsigned>(Seg::cs)].ar = kCode;
    vmcs.seg[static_cast<unsigned>(Seg::ldtr)] = {.limit = 0xffff, .ar = kNoLdt};
    vmcs.seg[static_cast<unsigned>(Seg::tr)] = {.limit = 0xffff, .ar = kTss};
    vmcs.gdtr = {.base = 0, .limit = 0xffff};
    vmcs.idtr = {};
}

} // namespace

void set_initial_state(Vcpu& vcpu, u64 rcx)
{
    cpu::Vmcs& vmcs = vcpu.vmcs;
    vmcs = {};
    set_controls(vcpu);
    set_segments(vmcs);
    vmcs.cr0 = cr0::PE | cr0::NE;
    vmcs.cr4 = cr4::MCE | cr4::VMXE;
    vmcs.efer = efer::SCE | efer::LME | efer::NXE;
    vmcs.rip = 0xfffffff0;

    cpu::GuestContext& context = vcpu.context;
    context = {};
    context[Gpr::rbx] = vcpu.td.gpaw();
    context[Gpr::rcx] = context[Gpr::r8] = rcx;
    context[Gpr::rdx] = kNativeCpuid1Eax;
    context[Gpr::rsi] = vcpu.index;
    context.fmask = 0x20200;
    vcpu.misc_enable = bit(0) | bit(11) | bit(12); // fast strings; no BTS, no PEBS
}

} // namespace seamless::tdx
