// SPDX-License-Identifier: Apache-2.0
// TDH.VP.ENTER: runs a vCPU until something is the host's business. TDX ABI: "TDH.VP.ENTER".
#include <bit>
#include <cstring>

#include "mem/guest_access.h"
#include "tdx/guest/run.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

using namespace spec;

// The answer to TDG.VP.VMCALL: exposed registers come from the host.
void complete_tdvmcall(Vcpu& vcpu, cpu::SeamRegs& regs)
{
    cpu::GuestContext& c = vcpu.context;
    const auto mask = static_cast<u32>(vcpu.tdvmcall_mask);
    for (u32 left = mask & 0xffff; left != 0; left &= left - 1) {
        const auto i = static_cast<unsigned>(std::countr_zero(left));
        c.gpr[i] = regs.*kHostRegisters[i];
    }
    constexpr std::size_t kXmm0 = 160, kXmmBytes = 16;         // in an XSAVE area
    for (u32 left = mask >> 16; left != 0; left &= left - 1) { // this host's SEAMCALL has none: they are zero
        const auto i = static_cast<unsigned>(std::countr_zero(left));
        std::memset(c.xsave.bytes + kXmm0 + i * kXmmBytes, 0, kXmmBytes);
    }
    c[Gpr::rax] = static_cast<u64>(TdxStatus::SUCCESS);
    c[Gpr::rcx] = vcpu.tdvmcall_mask;
}

// An NMI that the host left with TDH.VP.WR. It waits for the guest to read its #VE information, or NMIs could
// nest.
void deliver_pending_nmi(Vcpu& vcpu)
{
    cpu::Vmcs& vmcs = vcpu.vmcs;
    if (!vcpu.pend_nmi || (vmcs.entry_intr_info & intr_info::VALID) || vcpu.ve_info().valid != 0)
        return;
    if (vmcs.interruptibility & (interruptibility::NMI | interruptibility::MOV_SS | interruptibility::STI)) {
        vmcs.proc_based |= proc::NMI_WINDOW_EXITING;
        return;
    }
    vcpu.pend_nmi = false;
    vmcs.entry_intr_info = intr_info::VALID | intr_info::NMI | static_cast<u32>(Vector::NMI);
}

// An event whose delivery the exit cut short is delivered again.
void requeue_vectoring(cpu::Vmcs& vmcs)
{
    const u32 info = vmcs.idt_vectoring_info;
    if (!(info & intr_info::VALID))
        return;
    vmcs.entry_intr_info = info & (intr_info::VALID | intr_info::ERROR_CODE | 0x7ff);
    vmcs.entry_exception_error_code = vmcs.idt_vectoring_error_code;
    vmcs.entry_instruction_len = vmcs.exit_instruction_len;
    if (intr_info::type(info) == intr_info::NMI)
        vmcs.interruptibility &= ~interruptibility::NMI;
}

TdxStatus check_vcpu(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    if (!vcpu.complete())
        return TdxStatus::TDCX_NUM_INCORRECT;
    if (const TdVcpuState state = vcpu.state; state != TdVcpuState::READY)
        return TdxStatus::VCPU_STATE_INCORRECT | static_cast<u32>(state);
    if (const TdxStatus s = associate(call); s != TdxStatus::SUCCESS)
        return s;
    const u64 rcx = call.regs.rcx;
    const bool bad_hint =
        (rcx & vp_enter_rcx::HOST_RECOVERABILITY_HINT) && vcpu.last_exit != LastTdExit::async_trap;
    if (bad_hint || (rcx & vp_enter_rcx::RESUME_L1)) // no L2 VM was ever entered
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (call.module.clock().tsc() < vcpu.last_exit_tsc)
        return TdxStatus::TSC_ROLLBACK;
    // The state changes last: a refused entry leaves no trace that another processor could take for a run.
    TdVcpuState ready = TdVcpuState::READY;
    if (!vcpu.state.compare_exchange_strong(ready, TdVcpuState::ACTIVE))
        return TdxStatus::VCPU_STATE_INCORRECT | static_cast<u32>(ready);
    return TdxStatus::SUCCESS;
}

// Counts the vCPU into the current epoch; what this processor cached in an older one goes.
TdxStatus enter_epoch(SeamCall& call)
{
    Td& td = *call.td;
    const Held lock(td.epoch_lock, LockMode::shared);
    if (!lock)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TD_EPOCH;
    const u64 epoch = td.td_epoch;
    ++td.refcount[epoch & 1];
    if (call.vcpu->epoch != epoch)
        call.lp.invept_single(td.eptp());
    call.vcpu->epoch = epoch;
    return TdxStatus::SUCCESS;
}

void leave(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    --call.td->refcount[vcpu.epoch & 1];
    vcpu.last_exit_tsc = call.module.clock().tsc();
    TdVcpuState active = TdVcpuState::ACTIVE;
    vcpu.state.compare_exchange_strong(active, TdVcpuState::READY);
}

} // namespace

TdxStatus tdh_vp_enter(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    if (const TdxStatus s = check_vcpu(call); s != TdxStatus::SUCCESS)
        return s;
    if (const TdxStatus s = enter_epoch(call); s != TdxStatus::SUCCESS) {
        vcpu.state = TdVcpuState::READY;
        return s;
    }
    if (vcpu.last_exit == LastTdExit::tdvmcall)
        complete_tdvmcall(vcpu, call.regs);
    vcpu.last_exit = LastTdExit::async_fault;
    GuestRun run{.module = call.module, .lp = call.lp, .td = *call.td, .vcpu = vcpu, .regs = call.regs};
    After after = After::resume;
    while (after == After::resume) {
        if (call.td->fatal) { // another vCPU broke the TD
            after = async_exit(run, {.status = TdxStatus::TD_FATAL});
            break;
        }
        deliver_pending_nmi(vcpu);
        call.lp.vm_enter(vcpu.vmcs, vcpu.context);
        requeue_vectoring(vcpu.vmcs);
        after = handle_exit(run);
    }
    leave(call);
    return run.status;
}

} // namespace seamless::tdx
