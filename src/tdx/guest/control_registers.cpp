// SPDX-License-Identifier: Apache-2.0
// MOV to CR0 and CR4 that touches an owned bit, LMSW, XSETBV.
#include "tdx/guest/control_registers.h"

#include "tdx/guest/run.h"

namespace seamless::tdx {
namespace {

using namespace spec;

After gp(GuestRun& run)
{
    inject(run, Vector::GP, 0);
    return After::resume;
}

After cr_ve(GuestRun& run)
{
    return inject_ve(run, {.reason = ExitReason::CR_ACCESS,
                           .qualification = run.vmcs().exit_qualification,
                           .length = run.vmcs().exit_instruction_len,
                           .information = run.vmcs().instruction_info});
}

// CR0.PG changes together with a bit that made this write exit. False: #GP.
bool switch_paging(GuestRun& run, u64 value)
{
    cpu::Vmcs& vmcs = run.vmcs();
    if (((vmcs.cr0 ^ value) & cr0::PG) == 0)
        return true;
    if (!(value & cr0::PG)) {
        const bool in_64bit =
            (vmcs.efer & efer::LMA) && (vmcs.seg[static_cast<unsigned>(Seg::cs)].ar & segment_ar::L);
        if (in_64bit || (vmcs.cr4 & cr4::PCIDE))
            return false;
        vmcs.efer &= ~efer::LMA;
    } else if (vmcs.efer & efer::LME) {
        if (!(vmcs.cr4 & cr4::PAE))
            return false;
        vmcs.efer |= efer::LMA;
    }
    run.lp.invvpid(vmcs.vpid);
    return true;
}

After mov_to_cr0(GuestRun& run, u64 value)
{
    cpu::Vmcs& vmcs = run.vmcs();
    const bool natively_invalid =
        ((value & cr0::PG) && !(value & cr0::PE)) || ((value & cr0::NW) && !(value & cr0::CD));
    if (!(value & cr0::NE) || natively_invalid || ((vmcs.cr4 & cr4::CET) && !(value & cr0::WP)))
        return gp(run);
    if (!(value & cr0::PE) || (value & (cr0::NW | cr0::CD | bits(63, 32))))
        return cr_ve(run);
    if (!switch_paging(run, value))
        return gp(run);
    vmcs.cr0 = (vmcs.cr0 & kCr0Owned) | (value & ~kCr0Owned);
    advance_rip(run);
    return After::resume;
}

After mov_to_cr4(GuestRun& run, u64 value)
{
    cpu::Vmcs& vmcs = run.vmcs();
    const u64 owned = cr4_owned(run.td);
    // Whatever else is owned belongs to a feature that this TD does not have.
    const u64 unsupported = owned & ~(cr4::MCE | cr4::VMXE | cr4::SMXE);
    const bool leaves_pae = (vmcs.efer & efer::LMA) && !(value & cr4::PAE);
    if ((value & unsupported) || leaves_pae || ((value & cr4::CET) && !(vmcs.cr0 & cr0::WP)))
        return gp(run);
    if (value & (cr4::VMXE | cr4::SMXE))
        return cr_ve(run);
    if (!(value & cr4::MCE)) {
        if (!run.td.reduce_ve())
            return cr_ve(run);
    }
    vmcs.cr4_read_shadow = (vmcs.cr4_read_shadow & ~cr4::MCE) | (value & cr4::MCE);
    const u64 before = vmcs.cr4;
    vmcs.cr4 = (vmcs.cr4 & owned) | (value & ~owned);
    if ((before ^ vmcs.cr4) & (cr4::PGE | cr4::PAE | cr4::PSE | cr4::PCIDE | cr4::SMEP | cr4::SMAP))
        run.lp.invvpid(vmcs.vpid);
    advance_rip(run);
    return After::resume;
}

After lmsw(GuestRun& run, u64 source)
{
    constexpr u64 kMachineStatus = cr0::MP | cr0::EM | cr0::TS; // PE is set already and LMSW cannot clear it
    run.vmcs().cr0 = (run.vmcs().cr0 & ~kMachineStatus) | (source & kMachineStatus);
    advance_rip(run);
    return After::resume;
}

} // namespace

After handle_cr_access(GuestRun& run)
{
    cpu::Vmcs& vmcs = run.vmcs();
    const u64 q = vmcs.exit_qualification;
    const u64 number = field(q, 3, 0), type = field(q, 5, 4), index = field(q, 11, 8);
    const u64 value = index == static_cast<u64>(Gpr::rsp) ? vmcs.rsp : run.context().gpr[index];
    constexpr u64 kMovTo = 0, kLmsw = 3;
    if (type == kLmsw)
        return lmsw(run, field(q, 31, 16));
    if (type == kMovTo && number == 0)
        return mov_to_cr0(run, value);
    if (type == kMovTo && number == 4)
        return mov_to_cr4(run, value);
    return fatal_exit(run, TdxStatus::NON_RECOVERABLE_TD); // no control asks for any other exit
}

After handle_xsetbv(GuestRun& run)
{
    cpu::GuestContext& context = run.context();
    const u64 value = (context[Gpr::rdx] << 32) | (context[Gpr::rax] & 0xffffffff);
    const auto partial = [value](u64 group) { return (value & group) != 0 && (value & group) != group; };
    const bool bad = (context[Gpr::rcx] & 0xffffffff) != 0 ||
                     (value & ~(run.td.xfam & cpu::supported_xcr0())) || !(value & xfam::X87) ||
                     ((value & xfam::AVX) && !(value & xfam::SSE)) || partial(xfam::AVX512) ||
                     ((value & xfam::AVX512) && !(value & xfam::AVX)) || partial(xfam::AMX);
    if (bad)
        return gp(run);
    context.xcr0 = value;
    advance_rip(run);
    return After::resume;
}

} // namespace seamless::tdx
