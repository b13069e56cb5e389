// SPDX-License-Identifier: Apache-2.0
// May this be emulated at all? Only then the emulator is reached.
#include "kvm/emulate.h"

#include "kvm/backend_vmx/vmx.h"
#include "kvm/emulation_failure.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

namespace {

// What KVM has of a TD: no registers, and no memory to fetch an instruction from.
class ProtectedCpu final : public emul::EmulatedCpu {
    u64 gpr(spec::Gpr) override { return 0; }
    void set_gpr(spec::Gpr, u64) override {}
    u64 rip() override { return 0; }
    u64 rflags() override { return 0; }
    u64 cr0() override { return 0; }
    u64 cr4() override { return 0; }
    u64 efer() override { return 0; }
    spec::Segment segment(spec::Seg) override { return {.limit = 0xffff}; }
    X86Emul fetch(u64, std::span<u8>) override { return X86EMUL_UNHANDLEABLE; }
    X86Emul read_emulated(emul::LinearAccess, std::span<u8>) override { return X86EMUL_UNHANDLEABLE; }
    X86Emul write_emulated(emul::LinearAccess, std::span<const u8>) override { return X86EMUL_UNHANDLEABLE; }
    X86Emul pio_in(u16, unsigned, std::span<u8>) override { return X86EMUL_UNHANDLEABLE; }
    X86Emul pio_out(u16, std::span<const u8>) override { return X86EMUL_UNHANDLEABLE; }
    void set_cr0(u64) override {}
    void read_fpu(unsigned, std::span<u8>) override {}
    void write_fpu(unsigned, std::span<const u8>) override {}
    void queue_exception(spec::Vector, u32) override {}
    bool in_guest_mode() override { return false; }
    X86Emul check_intercept(const emul::Intercept&) override { return X86EMUL_CONTINUE; }
};

// Reached only if an x86_ops table lacks the rule for TDs: the emulator finds nothing to decode.
Handled emulate_protected(Vcpu& vcpu, int emul_type, std::span<const u8> insn)
{
    ProtectedCpu nothing;
    emul::Emulator emulator(nothing);
    const bool failed = emulator.decode(insn) != emul::Emulation::OK ||
                        emulator.execute() != emul::Emulation::OK || !emulator.retired();
    TRACE(vcpu.trace(), trace::Event::kvm_emulate_insn, emulator.rip(), trace::Bytes(emulator.insn()),
          failed);
    return failed ? handle_emulation_failure(vcpu, emul_type, emulator.insn()) : Handled{kResume};
}

} // namespace

Handled x86_emulate_instruction(Vcpu& vcpu, u64 gpa, int emul_type, std::span<const u8> insn)
{
    const X86Emul allowed = vcpu.vm().ops.check_emulate_instruction(vcpu, emul_type, insn);
    if (!(emul_type & EMULTYPE_NO_DECODE)) // a completion goes on with what was allowed before
        TRACE(vcpu.trace(), trace::Event::kvm_check_emulate, vcpu.vm().is_td() ? "td" : "plain",
              name_of(allowed));
    if (allowed == X86EMUL_RETRY_INSTR || allowed == X86EMUL_PROPAGATE_FAULT)
        return kResume;
    if (vcpu.vm().is_td())
        return emulate_protected(vcpu, emul_type, insn);
    if (allowed == X86EMUL_UNHANDLEABLE_VECTORING)
        return prepare_event_vectoring_exit(vcpu, gpa);
    if (allowed != X86EMUL_CONTINUE)
        return handle_emulation_failure(vcpu, emul_type, insn);
    return vcpu.vmx->emulation->emulate(gpa, emul_type, insn);
}

} // namespace seamless::kvm
