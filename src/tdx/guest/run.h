// SPDX-License-Identifier: Apache-2.0
// A TD running below TDH.VP.ENTER: what the handlers of its VM exits and TDCALLs share.
#pragma once

#include <optional>
#include <span>

#include "cpu/logical_processor.h"
#include "cpu/seam_port.h"
#include "tdx/module.h"

namespace seamless::tdx {

using spec::ExitReason;
using spec::TdxStatus;

enum class After : u8 { resume, td_exit };

struct GuestRun {
    TdxModule& module;
    cpu::LogicalProcessor& lp;
    Td& td;
    Vcpu& vcpu;
    cpu::SeamRegs& regs; // of the host; filled at the TD exit
    TdxStatus status = TdxStatus::SUCCESS;

    [[nodiscard]] cpu::Vmcs& vmcs() { return vcpu.vmcs; }
    [[nodiscard]] cpu::GuestContext& context() { return vcpu.context; }
};

// Asynchronous TD exits. TDX ABI: "TDH.VP.ENTER: output operands, asynchronous TD exit".
struct AsyncExit {
    TdxStatus status = TdxStatus::SUCCESS;
    u32 reason = 0;
    u64 qualification = 0, extended = 0, gpa = 0, intr_info = 0;
};
After async_exit(GuestRun& run, const AsyncExit& exit);
// The TD broke: it can never be entered again.
After fatal_exit(GuestRun& run, TdxStatus status);

// Events that the next VM entry injects. Fault-like: RIP stays.
void inject(GuestRun& run, spec::Vector vector, std::optional<u32> error_code = {});
// #VE with this information, or #DF if the guest has not read the last one. TDX ABI: "Virtualization
// Exception (#VE)".
struct VeRequest {
    ExitReason reason;
    u64 qualification = 0, gla = 0, gpa = 0;
    u32 length = 0, information = 0;
};
After inject_ve(GuestRun& run, const VeRequest& ve);
// The instruction that exited is complete.
void advance_rip(GuestRun& run);

// Handles the VM exit that the VMCS tells of.
After handle_exit(GuestRun& run);
After handle_tdcall(GuestRun& run);
After handle_cr_access(GuestRun& run);
After handle_xsetbv(GuestRun& run);
After handle_rdmsr(GuestRun& run);
After handle_wrmsr(GuestRun& run);

// An EPT violation or misconfiguration that a GPA of the guest has met, in an access of `qualification`.
After reflect_ept_violation(GuestRun& run, u64 gpa, u64 gla, u64 qualification);

// In the order RAX RCX RDX RBX RSP RBP RSI RDI R8..R15; RSP is not the host's to see.
inline constexpr u64 cpu::SeamRegs::*kHostRegisters[spec::kGprCount] = {
    &cpu::SeamRegs::rax, &cpu::SeamRegs::rcx, &cpu::SeamRegs::rdx, &cpu::SeamRegs::rbx, nullptr,
    &cpu::SeamRegs::rbp, &cpu::SeamRegs::rsi, &cpu::SeamRegs::rdi, &cpu::SeamRegs::r8,  &cpu::SeamRegs::r9,
    &cpu::SeamRegs::r10, &cpu::SeamRegs::r11, &cpu::SeamRegs::r12, &cpu::SeamRegs::r13, &cpu::SeamRegs::r14,
    &cpu::SeamRegs::r15};

} // namespace seamless::tdx
