// SPDX-License-Identifier: Apache-2.0
// The vCPU as the emulator sees it: a port that KVM implements. TDs have no such port: KVM asks
// check_emulate_instruction first, and for a TD the answer is to stay away.
#pragma once

#include <span>

#include "base/bits.h"
#include "emul/codes.h"
#include "spec/x86.h"

namespace seamless::emul {

// KVM's three points before, in and after execution at which a nested guest's instruction may belong to the
// hypervisor inside the guest.
enum class InterceptStage : u8 { PRE_EXCEPT, POST_EXCEPT, POST_MEMACCESS };

struct Intercept {
    InterceptStage stage;
    u64 rip;
    u64 next_rip;
    std::span<const u8> insn;
};

// An access to memory. `sole`: the instruction's only memory operand and not repeated, so that the address
// the processor reported for the exit is this one's. `modify`: a read of what is written next, so that its
// page fault is a write's.
struct LinearAccess {
    u64 linear;
    bool sole;
    bool modify = false;
};

// Accesses answer X86EMUL_PROPAGATE_FAULT when an exception is queued, and X86EMUL_IO_NEEDED when user space
// must answer first: the emulator runs again with the same decoded instruction, and the access succeeds then.
class EmulatedCpu {
  public:
    virtual ~EmulatedCpu() = default;

    [[nodiscard]] virtual u64 gpr(spec::Gpr r) = 0;
    virtual void set_gpr(spec::Gpr r, u64 value) = 0;
    [[nodiscard]] virtual u64 rip() = 0;
    [[nodiscard]] virtual u64 rflags() = 0;
    [[nodiscard]] virtual u64 cr0() = 0;
    [[nodiscard]] virtual u64 cr4() = 0;
    [[nodiscard]] virtual u64 efer() = 0;
    [[nodiscard]] virtual spec::Segment segment(spec::Seg seg) = 0;

    // Bytes of one page of code.
    [[nodiscard]] virtual X86Emul fetch(u64 linear, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul read_emulated(LinearAccess access, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul write_emulated(LinearAccess access, std::span<const u8> bytes) = 0;
    // As many elements of `size` bytes as fill `bytes`.
    [[nodiscard]] virtual X86Emul pio_in(u16 port, unsigned size, std::span<u8> bytes) = 0;
    [[nodiscard]] virtual X86Emul pio_out(u16 port, std::span<const u8> bytes) = 0;

    virtual void set_cr0(u64 value) = 0;
    // The x87 and SSE state as FXSAVE lays it out in 64-bit mode.
    virtual void read_fpu(unsigned offset, std::span<u8> bytes) = 0;
    virtual void write_fpu(unsigned offset, std::span<const u8> bytes) = 0;

    virtual void queue_exception(spec::Vector vector, u32 error_code) = 0;
    [[nodiscard]] virtual bool in_guest_mode() = 0;
    [[nodiscard]] virtual X86Emul check_intercept(const Intercept& intercept) = 0;
};

} // namespace seamless::emul
