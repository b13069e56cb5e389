// SPDX-License-Identifier: Apache-2.0
// The stack and near branches. A stack may lie in a device as any memory may, and PUSH, POP, CALL and JMP
// take memory operands.
#include <cstring>

#include "emul/steps.h"

namespace seamless::emul {

using namespace spec;

namespace {

constexpr Gpr kPushAll[] = {Gpr::rax, Gpr::rcx, Gpr::rdx, Gpr::rbx, Gpr::rsp, Gpr::rbp, Gpr::rsi, Gpr::rdi};

} // namespace

// Bytes of RSP that count. SDM: "Stack Behavior in 64-Bit Mode", "Address-Size Attribute for Stack".
unsigned Emulator::stack_width() const
{
    if (mode_ == decode::CodeSize::bits64)
        return 8;
    return cpu_.segment(Seg::ss).ar & segment_ar::DB ? 4 : 2;
}

void Emulator::move_stack(u64 by)
{
    const unsigned width = stack_width();
    regs_.write(Gpr::rsp, width, regs_.read(Gpr::rsp, width) + by);
}

// The operand size, which is never 4 in 64-bit mode.
unsigned Emulator::stack_operand() const
{
    const unsigned bytes = insn_->z.operand_width / 8u;
    return mode_ == decode::CodeSize::bits64 && bytes == 4 ? 8 : bytes;
}

Result<void, X86Emul> Emulator::push(u64 value, unsigned bytes)
{
    move_stack(u64{0} - bytes);
    const u64 offset = regs_.read(Gpr::rsp, stack_width());
    const u64 linear = TRY(linearize(Seg::ss, offset, bytes, true, false));
    u8 data[sizeof value];
    std::memcpy(data, &value, sizeof value);
    return write_memory({.linear = linear, .sole = has_sole_memory_operand()}, {data, bytes});
}

Result<u64, X86Emul> Emulator::pop(unsigned bytes)
{
    const u64 offset = regs_.read(Gpr::rsp, stack_width());
    const u64 linear = TRY(linearize(Seg::ss, offset, bytes, false, false));
    const u64 value = TRY(read_memory({.linear = linear, .sole = has_sole_memory_operand()}, bytes));
    move_stack(bytes);
    return value;
}

// SDM: JMP, CALL: "Near". A target that is not canonical faults before anything is pushed.
Result<void, X86Emul> Emulator::branch(u64 target, unsigned bytes)
{
    target = truncate(target, bytes);
    if (mode_ == decode::CodeSize::bits64 && !canonical(target))
        return raise(Vector::GP);
    next_rip_ = target;
    return {};
}

// In 64-bit mode near branches have no other size.
unsigned Emulator::branch_operand() const
{
    return mode_ == decode::CodeSize::bits64 ? 8 : insn_->z.operand_width / 8u;
}

Steps::Done Steps::push(Emulator& e, Operation& op) { return e.push(op.dst, e.stack_operand()); }

Steps::Done Steps::pop(Emulator& e, Operation& op)
{
    op.dst = TRY(e.pop(e.stack_operand()));
    return {};
}

Steps::Done Steps::push_flags(Emulator& e, Operation& op)
{
    return e.push(op.rflags & ~(rflags::VM | rflags::RF), e.stack_operand());
}

// SDM: POPF. Which flags it may change depends on the mode and privilege.
Steps::Done Steps::pop_flags(Emulator& e, Operation& op)
{
    u64 writable = rflags::kArithmetic | rflags::TF | rflags::DF | rflags::NT | rflags::AC | rflags::ID;
    const unsigned iopl = static_cast<unsigned>(field(op.rflags, 13, 12));
    if (op.rflags & rflags::VM) {
        if (iopl < 3)
            return e.raise(Vector::GP);
        writable |= rflags::IF;
    } else {
        writable |= e.cpl() == 0 ? rflags::IOPL : 0;
        writable |= e.cpl() <= iopl ? rflags::IF : 0;
    }
    const unsigned bytes = e.stack_operand();
    const u64 value = TRY(e.pop(bytes));
    if (bytes == 2)
        writable &= 0xffff;
    op.rflags = (op.rflags & ~writable) | (value & writable) | rflags::FIXED1;
    return {};
}

Steps::Done Steps::push_all(Emulator& e, Operation&)
{
    const unsigned bytes = e.stack_operand();
    const u64 before = e.regs_.read(Gpr::rsp, bytes);
    for (const Gpr r : kPushAll)
        TRY(e.push(r == Gpr::rsp ? before : e.regs_.read(r, bytes), bytes));
    return {};
}

Steps::Done Steps::pop_all(Emulator& e, Operation&)
{
    const unsigned bytes = e.stack_operand();
    for (unsigned i = 8; i-- > 0;) {
        const u64 value = TRY(e.pop(bytes));
        if (kPushAll[i] != Gpr::rsp)
            e.regs_.write(kPushAll[i], bytes, value);
    }
    return {};
}

// KVM knows no nested frames.
Steps::Done Steps::enter(Emulator& e, Operation& op)
{
    if (op.src & 31)
        return fail(X86EMUL_UNHANDLEABLE);
    const unsigned width = e.stack_width(), bytes = e.stack_operand();
    TRY(e.push(e.regs_.read(Gpr::rbp, bytes), bytes));
    e.regs_.write(Gpr::rbp, width, e.regs_.read(Gpr::rsp, width));
    e.move_stack(u64{0} - static_cast<u16>(op.dst));
    return {};
}

Steps::Done Steps::leave(Emulator& e, Operation&)
{
    const unsigned width = e.stack_width(), bytes = e.stack_operand();
    e.regs_.write(Gpr::rsp, width, e.regs_.read(Gpr::rbp, width));
    e.regs_.write(Gpr::rbp, bytes, TRY(e.pop(bytes)));
    return {};
}

Steps::Done Steps::jump(Emulator& e, Operation& op) { return e.branch(op.dst, e.branch_operand()); }

Steps::Done Steps::call(Emulator& e, Operation& op)
{
    const u64 back = e.next_rip_;
    TRY(e.branch(op.dst, e.branch_operand()));
    return e.push(back, e.branch_operand());
}

Steps::Done Steps::ret(Emulator& e, Operation&)
{
    const unsigned bytes = e.branch_operand();
    TRY(e.branch(TRY(e.pop(bytes)), bytes));
    e.move_stack(e.insn_->z.raw.imm[0].value.u); // zero if there is none
    return {};
}

} // namespace seamless::emul
