// SPDX-License-Identifier: Apache-2.0
// Instructions that leave the guest. SDM: "Instructions That Cause VM Exits Unconditionally", "...
// Conditionally".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::ExitReason;

Result<Flow, Fault> cpuid(Core& core, const Instruction&) { return fail(core.exit(ExitReason::CPUID)); }

Result<Flow, Fault> hlt(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based & spec::proc::HLT_EXITING)
        return fail(core.exit(ExitReason::HLT));
    core.state().activity = spec::Activity::hlt;
    return Flow::next;
}

Result<Flow, Fault> vmcall(Core& core, const Instruction&) { return fail(core.exit(ExitReason::VMCALL)); }

// Intel TDX: TDCALL is #UD outside a TD and #GP(0) outside ring 0.
Result<Flow, Fault> tdcall(Core& core, const Instruction&)
{
    if (!core.in_td())
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    return fail(core.exit(ExitReason::TDCALL));
}

// A guest that spins waits for another processor, whose thread may need this one's host CPU.
Result<Flow, Fault> pause(Core& core, const Instruction&)
{
    if (core.vmcs().proc_based & spec::proc::PAUSE_EXITING)
        return fail(core.exit(ExitReason::PAUSE_INSTRUCTION));
    core.spinning();
    return Flow::next;
}

// MONITOR is not offered, so neither is MWAIT; a control that exits on them is honoured first.
Result<Flow, Fault> monitor(Core& core, const Instruction&)
{
    if (user_mode(core) || !(core.vmcs().proc_based & spec::proc::MONITOR_EXITING))
        return fail(core.ud());
    return fail(core.exit(ExitReason::MONITOR_INSTRUCTION));
}

Result<Flow, Fault> mwait(Core& core, const Instruction&)
{
    if (user_mode(core) || !(core.vmcs().proc_based & spec::proc::MWAIT_EXITING))
        return fail(core.ud());
    return fail(core.exit(ExitReason::MWAIT_INSTRUCTION));
}

} // namespace seamless::cpu::op
