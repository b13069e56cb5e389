// SPDX-License-Identifier: Apache-2.0
// Names of VMX exit reasons, as KVM's tracepoints print them.
#include "spec/vmx.h"

#include "base/table.h"

namespace seamless::spec {
namespace {

struct ReasonRow {
    ExitReason reason;
    const char* name;
};

#define REASON(name)                                                                                         \
    {                                                                                                        \
        ExitReason::name, #name                                                                              \
    }
constexpr ReasonRow kReasons[] = {
    REASON(EXCEPTION_NMI),
    REASON(EXTERNAL_INTERRUPT),
    REASON(TRIPLE_FAULT),
    REASON(INIT_SIGNAL),
    REASON(SIPI_SIGNAL),
    REASON(OTHER_SMI),
    REASON(INTERRUPT_WINDOW),
    REASON(NMI_WINDOW),
    REASON(TASK_SWITCH),
    REASON(CPUID),
    REASON(GETSEC),
    REASON(HLT),
    REASON(INVD),
    REASON(INVLPG),
    REASON(RDPMC),
    REASON(RDTSC),
    REASON(RSM),
    REASON(VMCALL),
    REASON(VMCLEAR),
    REASON(VMLAUNCH),
    REASON(VMPTRLD),
    REASON(VMPTRST),
    REASON(VMREAD),
    REASON(VMRESUME),
    REASON(VMWRITE),
    REASON(VMOFF),
    REASON(VMON),
    REASON(CR_ACCESS),
    REASON(DR_ACCESS),
    REASON(IO_INSTRUCTION),
    REASON(MSR_READ),
    REASON(MSR_WRITE),
    REASON(INVALID_STATE),
    REASON(MSR_LOAD_FAIL),
    REASON(MWAIT_INSTRUCTION),
    REASON(MONITOR_TRAP_FLAG),
    REASON(MONITOR_INSTRUCTION),
    REASON(PAUSE_INSTRUCTION),
    REASON(MCE_DURING_VMENTRY),
    REASON(TPR_BELOW_THRESHOLD),
    REASON(APIC_ACCESS),
    REASON(EOI_INDUCED),
    REASON(GDTR_IDTR),
    REASON(LDTR_TR),
    REASON(EPT_VIOLATION),
    REASON(EPT_MISCONFIG),
    REASON(INVEPT),
    REASON(RDTSCP),
    REASON(PREEMPTION_TIMER),
    REASON(INVVPID),
    REASON(WBINVD),
    REASON(XSETBV),
    REASON(APIC_WRITE),
    REASON(RDRAND),
    REASON(INVPCID),
    REASON(VMFUNC),
    REASON(ENCLS),
    REASON(RDSEED),
    REASON(PML_FULL),
    REASON(XSAVES),
    REASON(XRSTORS),
    REASON(PCONFIG),
    REASON(UMWAIT),
    REASON(TPAUSE),
    REASON(BUS_LOCK),
    REASON(NOTIFY),
    REASON(SEAMCALL),
    REASON(TDCALL),
};
#undef REASON
static_assert(strictly_ascending(kReasons, &ReasonRow::reason));

} // namespace

const char* exit_reason_name(ExitReason reason)
{
    const ReasonRow* row = find_row(kReasons, &ReasonRow::reason, reason);
    return row ? row->name : "UNKNOWN";
}

} // namespace seamless::spec
