// SPDX-License-Identifier: Apache-2.0
// VM exits of a TD: one row for each exit reason. TDX ABI: "TD VM Exits: Overview".
#include <iterator>

#include "base/table.h"
#include "tdx/guest/run.h"
#include "tdx/guest/td_cpuid.h"
#include "tdx/guest/td_msr.h"
#include "tdx/sept.h"

namespace seamless::tdx {

using namespace spec;

namespace {

After instruction_ve(GuestRun& run)
{
    const cpu::Vmcs& vmcs = run.vmcs();
    return inject_ve(run, {.reason = static_cast<ExitReason>(vmcs.exit_reason & 0xffff),
                           .qualification = vmcs.exit_qualification,
                           .length = vmcs.exit_instruction_len,
                           .information = vmcs.instruction_info});
}

After undefined(GuestRun& run)
{
    inject(run, Vector::UD);
    return After::resume;
}

After general_protection(GuestRun& run)
{
    inject(run, Vector::GP, 0);
    return After::resume;
}

After exception_or_nmi(GuestRun& run)
{
    const u32 info = run.vmcs().exit_intr_info;
    if (intr_info::type(info) == intr_info::NMI)
        return async_exit(run, {.reason = run.vmcs().exit_reason, .intr_info = info});
    const bool machine_check = intr_info::vector(info) == static_cast<u8>(Vector::MC);
    run.td.fatal = true;
    return async_exit(run, {.status = machine_check ? TdxStatus::NON_RECOVERABLE_TD_NON_ACCESSIBLE
                                                    : TdxStatus::NON_RECOVERABLE_TD,
                            .reason = run.vmcs().exit_reason,
                            .intr_info = info});
}

// Exits that the host handles; the guest notices nothing.
After to_host(GuestRun& run)
{
    const cpu::Vmcs& vmcs = run.vmcs();
    return async_exit(run, {.reason = vmcs.exit_reason,
                            .qualification = vmcs.exit_qualification,
                            .intr_info = vmcs.exit_intr_info});
}

After triple_fault(GuestRun& run)
{
    run.vcpu.state = TdVcpuState::DISABLED;
    return async_exit(run, {.status = TdxStatus::NON_RECOVERABLE_VCPU,
                            .reason = run.vmcs().exit_reason,
                            .qualification = run.vmcs().exit_qualification});
}

After nmi_window(GuestRun& run)
{
    run.vmcs().proc_based &= ~proc::NMI_WINDOW_EXITING; // what waits is injected before the next entry
    return After::resume;
}

After cpuid(GuestRun& run)
{
    cpu::GuestContext& c = run.context();
    const auto values = td_cpuid(run.vcpu, static_cast<u32>(c[Gpr::rax]), static_cast<u32>(c[Gpr::rcx]));
    if (!values)
        return instruction_ve(run);
    c[Gpr::rax] = values->eax;
    c[Gpr::rbx] = values->ebx;
    c[Gpr::rcx] = values->ecx;
    c[Gpr::rdx] = values->edx;
    advance_rip(run);
    return After::resume;
}

After ept_violation(GuestRun& run)
{
    const cpu::Vmcs& vmcs = run.vmcs();
    const bool gla_valid = vmcs.exit_qualification & ept::qual::GLA_VALID;
    return reflect_ept_violation(run, vmcs.guest_physical_address, gla_valid ? vmcs.guest_linear_address : 0,
                                 vmcs.exit_qualification);
}

After ept_misconfig(GuestRun& run)
{
    const u64 gpa = run.vmcs().guest_physical_address;
    if (!(gpa & run.td.shared_bit()))
        return fatal_exit(run, TdxStatus::NON_RECOVERABLE_TD); // the module never writes such an entry
    return async_exit(run, {.reason = static_cast<u32>(ExitReason::EPT_MISCONFIG), .gpa = gpa});
}

struct ExitRow {
    ExitReason reason;
    After (*handle)(GuestRun&);
};

// clang-format off
constexpr ExitRow kExits[] = {
    {ExitReason::EXCEPTION_NMI,       exception_or_nmi},
    {ExitReason::EXTERNAL_INTERRUPT,  to_host},
    {ExitReason::TRIPLE_FAULT,        triple_fault},
    {ExitReason::INIT_SIGNAL,         to_host},
    {ExitReason::OTHER_SMI,           to_host},
    {ExitReason::NMI_WINDOW,          nmi_window},
    {ExitReason::TASK_SWITCH,         to_host},
    {ExitReason::CPUID,               cpuid},
    {ExitReason::GETSEC,              undefined},
    {ExitReason::HLT,                 instruction_ve},
    {ExitReason::INVD,                instruction_ve},
    {ExitReason::RDPMC,               general_protection}, // exits only while ATTRIBUTES.PERFMON is 0
    {ExitReason::RSM,                 undefined},
    {ExitReason::VMCALL,              instruction_ve},
    {ExitReason::VMCLEAR,             undefined},
    {ExitReason::VMLAUNCH,            undefined},
    {ExitReason::VMPTRLD,             undefined},
    {ExitReason::VMPTRST,             undefined},
    {ExitReason::VMREAD,              undefined},
    {ExitReason::VMRESUME,            undefined},
    {ExitReason::VMWRITE,             undefined},
    {ExitReason::VMOFF,               undefined},
    {ExitReason::VMON,                undefined},
    {ExitReason::CR_ACCESS,           handle_cr_access},
    {ExitReason::IO_INSTRUCTION,      instruction_ve},
    {ExitReason::MSR_READ,            handle_rdmsr},
    {ExitReason::MSR_WRITE,           handle_wrmsr},
    {ExitReason::MWAIT_INSTRUCTION,   undefined},
    {ExitReason::MONITOR_INSTRUCTION, undefined},
    {ExitReason::EPT_VIOLATION,       ept_violation},
    {ExitReason::EPT_MISCONFIG,       ept_misconfig},
    {ExitReason::INVEPT,              undefined},
    {ExitReason::INVVPID,             undefined},
    {ExitReason::WBINVD,              instruction_ve},
    {ExitReason::XSETBV,              handle_xsetbv},
    {ExitReason::APIC_WRITE,          instruction_ve},
    {ExitReason::VMFUNC,              undefined},
    {ExitReason::ENCLS,               undefined},
    {ExitReason::PCONFIG,             undefined},
    {ExitReason::UMWAIT,              undefined},
    {ExitReason::TPAUSE,              undefined},
    {ExitReason::BUS_LOCK,            to_host},
    {ExitReason::NOTIFY,              to_host},
    {ExitReason::SEAMCALL,            undefined},
    {ExitReason::TDCALL,              handle_tdcall},
};
// clang-format on
static_assert(strictly_ascending(kExits, &ExitRow::reason));

u64 msr_value(const Vcpu& vcpu, u32 msr)
{
    switch (msr) {
    case 0x34:
        return vcpu.smi_count;
    case 0x3a: // IA32_FEATURE_CONTROL: locked
    case 0x4e: // IA32_PPIN_CTL: locked
    case 0xbd: // IA32_XAPIC_DISABLE_STATUS: legacy xAPIC is disabled
        return 1;
    case 0x8b: // IA32_BIOS_SIGN_ID: no microcode revision is ever too old
        return 0xffffffff;
    case 0x10a:
        return vcpu.td.arch_capabilities;
    case 0x1a0:
        return vcpu.misc_enable;
    case 0x1d9:
        return vcpu.vmcs.debugctl & ~bit(13);
    case 0x802:
        return vcpu.x2apic_id;
    case 0xc80: // IA32_DEBUG_INTERFACE: locked by the firmware
        return bit(30);
    case 0xda0:
        return vcpu.context.xss;
    default: // PLATFORM_INFO, FEATURE_ENABLES; IA32_PERF_CAPABILITIES without PERFMON
        return 0;
    }
}

After msr_ve(GuestRun& run, bool write)
{
    return inject_ve(run, {.reason = write ? ExitReason::MSR_WRITE : ExitReason::MSR_READ,
                           .length = run.vmcs().exit_instruction_len});
}

// Writes that the module checks. The action that remains: native (done), gp or ve.
MsrAction checked_write(GuestRun& run, u32 msr, u64 value)
{
    cpu::Vmcs& vmcs = run.vmcs();
    switch (msr) { // these are written only with REDUCE_VE
    case 0x34:
        run.vcpu.smi_count = value;
        return MsrAction::native;
    case 0x79:
    case 0x8b:
        return MsrAction::native; // ignored
    case 0x140:
        return value == 0 ? MsrAction::native : MsrAction::gp;
    case 0x1a0: {
        constexpr u64 kFixed = 0xffffffff'ff3ae776;
        if (value & kFixed)
            return MsrAction::gp;
        run.vcpu.misc_enable = value;
        return MsrAction::native;
    }
    default:
        break;
    }
    if (msr == 0x1d9) { // SDM: IA32_DEBUGCTL; freeze-on-PMI needs PERFMON, RTM needs TSX
        constexpr u64 kReserved = ~(bits(1, 0) | bits(12, 6));
        if (value & kReserved)
            return MsrAction::gp;
        if (field(value, 7, 6) == 1)
            return MsrAction::ve;
        vmcs.debugctl = value;
        return MsrAction::native;
    }
    if (msr == 0xda0) {
        if (value & ~(cpu::supported_xss() & run.td.xfam))
            return MsrAction::gp;
        run.context().xss = value;
        return MsrAction::native;
    }
    if (msr == static_cast<u32>(Msr::IA32_EFER)) {
        if ((value ^ vmcs.efer) & ~(efer::SCE | efer::LMA))
            return MsrAction::ve;
        vmcs.efer = (vmcs.efer & ~efer::SCE) | (value & efer::SCE);
        return MsrAction::native;
    }
    return MsrAction::gp;
}

} // namespace

After handle_rdmsr(GuestRun& run)
{
    cpu::GuestContext& c = run.context();
    const u32 msr = static_cast<u32>(c[Gpr::rcx]);
    MsrAction action = msr_action(run.td, msr, false);
    if (msr == 0x802 && !(run.td.td_ctls & td_ctls::ENUM_TOPOLOGY))
        action = MsrAction::ve;
    if (action == MsrAction::ve)
        return msr_ve(run, false);
    if (action != MsrAction::value)
        return general_protection(run);
    const u64 value = msr_value(run.vcpu, msr);
    c[Gpr::rax] = value & 0xffffffff;
    c[Gpr::rdx] = value >> 32;
    advance_rip(run);
    return After::resume;
}

After handle_wrmsr(GuestRun& run)
{
    const cpu::GuestContext& c = run.context();
    const u32 msr = static_cast<u32>(c[Gpr::rcx]);
    const u64 value = (c[Gpr::rdx] << 32) | (c[Gpr::rax] & 0xffffffff);
    MsrAction action = msr_action(run.td, msr, true);
    if (action == MsrAction::value)
        action = checked_write(run, msr, value);
    if (action == MsrAction::ve)
        return msr_ve(run, true);
    if (action == MsrAction::gp)
        return general_protection(run);
    advance_rip(run);
    return After::resume;
}

After reflect_ept_violation(GuestRun& run, u64 gpa, u64 gla, u64 qualification)
{
    AsyncExit exit{.reason = static_cast<u32>(ExitReason::EPT_VIOLATION),
                   .qualification = qualification & bits(6, 0),
                   .gpa = gpa};
    if (gpa & run.td.shared_bit())
        return async_exit(run, exit);
    if (gpa >=
        2 * run.td.shared_bit()) { // beyond the TD's physical addresses: a reserved bit in its page tables
        run.context().cr2 = gla;
        inject(run, Vector::PF, pferr::P | pferr::RSVD | (qualification & ept::qual::WRITE ? pferr::W : 0));
        return After::resume;
    }
    if (sept::walk(run.td, gpa, 0).state() == SeptState::PENDING) {
        // SDM: an access for event delivery is never converted. The event is delivered again at the next
        // entry.
        const bool delivering = run.vmcs().entry_intr_info & intr_info::VALID;
        if (!(run.td.td_ctls & td_ctls::PENDING_VE_DISABLE) && !delivering)
            return inject_ve(run, {.reason = ExitReason::EPT_VIOLATION,
                                   .qualification = qualification,
                                   .gla = gla,
                                   .gpa = gpa});
        exit.extended = static_cast<u64>(ExtendedExitQual::PENDING_EPT_VIOLATION);
    }
    return async_exit(run, exit);
}

After handle_exit(GuestRun& run)
{
    const u32 reason = run.vmcs().exit_reason;
    if (test(reason, 31)) // the entry failed: this state can never run
        return fatal_exit(run, TdxStatus::NON_RECOVERABLE_TD);
    const ExitRow* row = find_row(kExits, &ExitRow::reason, static_cast<ExitReason>(reason & 0xffff));
    return row ? row->handle(run) : fatal_exit(run, TdxStatus::NON_RECOVERABLE_TD);
}

} // namespace seamless::tdx
