// SPDX-License-Identifier: Apache-2.0
// RFLAGS beside the arithmetic flags.
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
namespace rf = spec::rflags;

namespace {

u64 iopl(const CpuState& s) { return field(s.rflags, 13, 12); }

} // namespace

Result<Flow, Fault> cli(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (s.protected_mode() && s.cpl() > iopl(s))
        return fail(core.gp());
    s.rflags &= ~rf::IF;
    return Flow::next;
}

// The instruction behind STI runs before an interrupt is taken.
Result<Flow, Fault> sti(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (s.protected_mode() && s.cpl() > iopl(s))
        return fail(core.gp());
    if (!(s.rflags & rf::IF))
        s.interruptibility |= spec::interruptibility::STI;
    s.rflags |= rf::IF;
    return Flow::next;
}

Result<Flow, Fault> cld(Core& core, const Instruction&)
{
    core.state().rflags &= ~rf::DF;
    return Flow::next;
}

Result<Flow, Fault> std(Core& core, const Instruction&)
{
    core.state().rflags |= rf::DF;
    return Flow::next;
}

Result<Flow, Fault> clac(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.ud());
    core.state().rflags &= ~rf::AC;
    return Flow::next;
}

Result<Flow, Fault> stac(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.ud());
    core.state().rflags |= rf::AC;
    return Flow::next;
}

Result<Flow, Fault> pushf(Core& core, const Instruction& insn)
{
    const unsigned size = insn.z.operand_width / 8;
    TRY(push(core, core.state().rflags & ~(rf::VM | rf::RF), size));
    return Flow::next;
}

Result<Flow, Fault> popf(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8;
    const u64 value = TRY(peek(core, 0, size));
    u64 writable = rf::kArithmetic | rf::TF | rf::DF | rf::NT | rf::AC | rf::ID;
    if (s.cpl() == 0)
        writable |= rf::IOPL;
    if (s.cpl() <= iopl(s))
        writable |= rf::IF;
    if (size == 2)
        writable &= 0xffff;
    release(core, size);
    s.rflags = (s.rflags & ~(writable | rf::RF)) | (value & writable);
    return Flow::next;
}

} // namespace seamless::cpu::op
