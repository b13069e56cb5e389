// SPDX-License-Identifier: Apache-2.0
// x86_emulate_instruction(): may this be emulated at all, then the emulator, then KVM's exits for what it
// cannot do.
#include "kvm/emulate.h"

#include <algorithm>
#include <cstring>

#include "kvm/backend_vmx/vmx.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

// KVM's exit for an event that was being delivered when the guest touched MMIO.
Handled vectoring_exit(Vcpu& vcpu, u64 gpa)
{
    const cpu::Vmcs& vmcs = vcpu.vmx->vmcs;
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
    run.internal.ndata = 5;
    run.internal.data[0] = vmcs.idt_vectoring_info;
    run.internal.data[1] = vmcs.exit_reason;
    run.internal.data[2] = vmcs.exit_qualification;
    run.internal.data[3] = gpa;
    run.internal.data[4] = vcpu.cpu;
    return kToUser;
}

Handled handle_emulation_failure(Vcpu& vcpu, std::span<const u8> insn)
{
    const cpu::Vmcs& vmcs = vcpu.vmx->vmcs;
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    std::memset(run.internal.data, 0, sizeof run.internal.data);
    unsigned next = 1; // data[0] holds the flags
    if (!insn.empty()) {
        run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
        const std::size_t size = std::min<std::size_t>(insn.size(), 15);
        run.emulation_failure.insn_size = static_cast<u8>(size);
        std::memset(run.emulation_failure.insn_bytes, 0x90, sizeof run.emulation_failure.insn_bytes);
        std::memcpy(run.emulation_failure.insn_bytes, insn.data(), size);
        next = 3;
    }
    for (const u64 info : {u64{vmcs.exit_reason}, vmcs.exit_qualification, u64{vmcs.idt_vectoring_info},
                           u64{vmcs.exit_intr_info}, u64{vmcs.exit_intr_error_code}})
        run.internal.data[next++] = info;
    run.internal.ndata = next;
    return kToUser;
}

} // namespace

Handled x86_emulate_instruction(Vcpu& vcpu, u64 gpa, int emul_type, std::span<const u8> insn)
{
    const X86Emul allowed = vcpu.vm().ops.check_emulate_instruction(vcpu, emul_type, insn);
    TRACE(vcpu.trace(), trace::Event::kvm_check_emulate, vcpu.vm().is_td() ? "td" : "plain",
          name_of(allowed));
    if (allowed == X86EMUL_RETRY_INSTR || allowed == X86EMUL_PROPAGATE_FAULT)
        return kResume;
    if (vcpu.vm().is_td()) {
        // Only a test's table gets here: without the rule there is nothing to fetch, decode or write back.
        vcpu.run().exit_reason = KVM_EXIT_INTERNAL_ERROR;
        vcpu.run().internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
        vcpu.run().internal.ndata = 1;
        vcpu.run().internal.data[0] = 0;
        return kToUser;
    }
    if (allowed == X86EMUL_UNHANDLEABLE_VECTORING)
        return vectoring_exit(vcpu, gpa);
    return handle_emulation_failure(vcpu, insn);
}

} // namespace seamless::kvm
