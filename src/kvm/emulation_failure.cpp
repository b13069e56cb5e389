// SPDX-License-Identifier: Apache-2.0
// KVM_EXIT_INTERNAL_ERROR with KVM's payloads. KVM API: "KVM_EXIT_INTERNAL_ERROR".
#include "kvm/emulation_failure.h"

#include <algorithm>
#include <cstring>

#include "kvm/backend_vmx/vmx.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

Handled prepare_emulation_failure_exit(Vcpu& vcpu, std::span<const u8> insn)
{
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
    std::memset(run.internal.data, 0, sizeof run.internal.data);
    unsigned next = 1; // data[0] holds the flags
    if (!insn.empty()) {
        run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
        const std::size_t size = std::min(insn.size(), sizeof run.emulation_failure.insn_bytes);
        run.emulation_failure.insn_size = static_cast<u8>(size);
        std::memset(run.emulation_failure.insn_bytes, 0x90, sizeof run.emulation_failure.insn_bytes);
        std::memcpy(run.emulation_failure.insn_bytes, insn.data(), size);
        next = 3;
    }
    u64 info[5] = {}; // of a TD, whose exits have none of these, nothing
    if (vcpu.vmx) {
        const cpu::Vmcs& v = vcpu.vmx->vmcs;
        const u64 exit[] = {v.exit_reason, v.exit_qualification, v.idt_vectoring_info, v.exit_intr_info,
                            v.exit_intr_error_code};
        std::copy(std::begin(exit), std::end(exit), info);
    }
    for (const u64 value : info)
        run.internal.data[next++] = value;
    run.internal.ndata = next;
    return kToUser;
}

} // namespace

Handled handle_emulation_failure(Vcpu& vcpu, int emul_type, std::span<const u8> insn)
{
    if (!vcpu.vmx || vcpu.vm().exit_on_emulation_error || (emul_type & EMULTYPE_SKIP))
        return prepare_emulation_failure_exit(vcpu, insn);
    vmx_queue_exception(vcpu, Vector::UD);
    const cpu::Vmcs& v = vcpu.vmx->vmcs;
    const unsigned cpl = segment_ar::dpl(v.seg[static_cast<unsigned>(Seg::ss)].ar);
    if (!vcpu.guest_mode && cpl == 0)
        return prepare_emulation_failure_exit(vcpu, insn);
    return kResume;
}

Handled prepare_event_vectoring_exit(Vcpu& vcpu, u64 gpa)
{
    const cpu::Vmcs& v = vcpu.vmx->vmcs;
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
    run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
    run.internal.ndata = 5;
    const u64 data[] = {v.idt_vectoring_info, v.exit_reason, v.exit_qualification, gpa, vcpu.cpu};
    std::memcpy(run.internal.data, data, sizeof data);
    return kToUser;
}

} // namespace seamless::kvm
