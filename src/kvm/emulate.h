// SPDX-License-Identifier: Apache-2.0
// x86_emulate_instruction(), and the port to the instruction emulator behind it: what the emulator needs from
// a vCPU and what it answers. TDs stop before the port: the first thing asked is the x86_ops'
// check_emulate_instruction.
#pragma once

#include <span>

#include "kvm/fault.h"
#include "spec/x86.h"

namespace seamless::kvm {

class Vcpu;

// The vCPU as the emulator sees it. Memory functions take linear addresses; X86EMUL_PROPAGATE_FAULT means
// that an exception is queued, X86EMUL_IO_NEEDED that user space must answer first (then the emulator runs
// again with EMULTYPE_NO_DECODE and the same access succeeds).
class EmulatedCpu {
  public:
    virtual ~EmulatedCpu() = default;

    [[nodiscard]] virtual u64 read_gpr(spec::Gpr r) = 0;
    virtual void write_gpr(spec::Gpr r, u64 value) = 0;
    [[nodiscard]] virtual u64 rip() = 0;
    virtual void set_rip(u64 rip) = 0;
    [[nodiscard]] virtual u64 rflags() = 0;
    virtual void set_rflags(u64 rflags) = 0;
    [[nodiscard]] virtual u64 cr(unsigned n) = 0;
    [[nodiscard]] virtual u64 efer() = 0;
    [[nodiscard]] virtual spec::Segment segment(spec::Seg seg) = 0;
    [[nodiscard]] virtual unsigned cpl() = 0;
    // SSE registers, 16 bytes each.
    virtual void read_xmm(unsigned n, std::span<u8, 16> value) = 0;
    virtual void write_xmm(unsigned n, std::span<const u8, 16> value) = 0;

    [[nodiscard]] virtual X86Emul fetch(u64 linear, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul read_emulated(u64 linear, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul write_emulated(u64 linear, std::span<const u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul pio_in(unsigned size, u16 port, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul pio_out(unsigned size, u16 port, std::span<const u8> bytes) = 0;

    virtual void queue_exception(spec::Vector vector, bool has_error, u32 error) = 0;
    // KVM's three points before, in and after execution; only in guest mode does anything happen.
    [[nodiscard]] virtual bool in_guest_mode() = 0;
    [[nodiscard]] virtual X86Emul check_intercept() = 0;
};

// EMULATION_* of KVM.
enum class Emulation : int { FAILED = -1, OK = 0, RESTART = 1, INTERCEPTED = 2 };

class Emulator {
  public:
    virtual ~Emulator() = default;

    struct Outcome {
        Emulation result = Emulation::FAILED;
        std::span<const u8> insn; // the instruction's bytes, as far as they are known
    };
    // Decodes at RIP and executes. `insn`: bytes that are already known. OK: registers and RIP are written,
    // unless an access needs user space (the vCPU knows).
    [[nodiscard]] virtual Outcome emulate(EmulatedCpu& cpu, int emul_type, std::span<const u8> insn) = 0;
};

[[nodiscard]] Handled x86_emulate_instruction(Vcpu& vcpu, u64 gpa, int emul_type, std::span<const u8> insn);

} // namespace seamless::kvm
