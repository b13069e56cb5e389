// SPDX-License-Identifier: Apache-2.0
// Instructions on system registers that take a memory operand, and those whose operands are none of ModRM's.
#include <algorithm>

#include "emul/steps.h"

namespace seamless::emul {

using namespace spec;

// The 16-byte form is none of KVM's.
Steps::Done Steps::compare_exchange_8_bytes(Emulator& e, Operation& op)
{
    const auto pair = [&](Gpr high, Gpr low) { return e.regs_.read(high, 4) << 32 | e.regs_.read(low, 4); };
    const bool equal = op.dst == pair(Gpr::rdx, Gpr::rax);
    if (equal) {
        op.dst = pair(Gpr::rcx, Gpr::rbx);
    } else {
        e.regs_.write(Gpr::rax, 4, op.dst);
        e.regs_.write(Gpr::rdx, 4, op.dst >> 32);
    }
    op.rflags = equal ? op.rflags | rflags::ZF : op.rflags & ~rflags::ZF;
    return {};
}

// CLFLUSH, as KVM has it: a byte is read.
Steps::Done Steps::touch(Emulator& e, Operation&)
{
    const u64 linear = TRY(e.linear_of(e.insn_->operands[0], 1, false));
    TRY(e.read_memory({.linear = linear, .sole = e.has_sole_memory_operand()}, 1));
    return {};
}

// XLAT
Steps::Done Steps::translate(Emulator& e, Operation&)
{
    const auto operands = e.insn_->all_operands();
    const auto memory = std::ranges::find(operands, ZYDIS_OPERAND_TYPE_MEMORY, &ZydisDecodedOperand::type);
    if (memory == operands.end())
        return fail(X86EMUL_UNHANDLEABLE);
    // Zydis leaves AL out of the address.
    const u64 offset =
        truncate(e.offset_of(*memory) + e.regs_.read(Gpr::rax, 1), e.insn_->z.address_width / 8u);
    const u64 linear = TRY(e.linearize(Emulator::segment_of(memory->mem.segment), offset, 1, false, false));
    e.regs_.write(Gpr::rax, 1,
                  TRY(e.read_memory({.linear = linear, .sole = e.has_sole_memory_operand()}, 1)));
    return {};
}

Steps::Done Steps::store_machine_status(Emulator& e, Operation& op)
{
    op.dst = e.cpu_.cr0();
    return {};
}

// LMSW sets PE but does not clear it.
Steps::Done Steps::load_machine_status(Emulator& e, Operation& op)
{
    constexpr u64 kLoaded = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
    const u64 before = e.cpu_.cr0();
    e.cpu_.set_cr0((before & ~(kLoaded & ~cr0::PE)) | (op.dst & kLoaded));
    return {};
}

Steps::Done Steps::store_ldtr(Emulator& e, Operation& op)
{
    op.dst = e.cpu_.segment(Seg::ldtr).selector;
    return {};
}

Steps::Done Steps::store_tr(Emulator& e, Operation& op)
{
    op.dst = e.cpu_.segment(Seg::tr).selector;
    return {};
}

Steps::Done Steps::store_x87_control(Emulator& e, Operation& op)
{
    op.dst = e.fpu_word(0);
    return {};
}

Steps::Done Steps::store_x87_status(Emulator& e, Operation& op)
{
    op.dst = e.fpu_word(2);
    return {};
}

Steps::Done Steps::store_segment(Emulator& e, Operation& op)
{
    op.dst = e.cpu_.segment(Emulator::segment_of(e.insn_->operands[1].reg.value)).selector;
    return {};
}

} // namespace seamless::emul
