// SPDX-License-Identifier: Apache-2.0
// Loops by a counter, ENTER, and far transfers. SDM: "JMP", "CALL", "RET", "ENTER", "LOOP/LOOPcc".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::Gpr;
using spec::Seg;
using spec::Vector;
namespace ar = spec::segment_ar;

namespace {

Flow branch(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const u64 target = s.rip + insn.length() + insn.operands[0].imm.value.u;
    s.rip = s.code64() ? target : truncate(target, insn.z.operand_width / 8);
    return Flow::stay;
}

struct FarPointer {
    u16 selector;
    u64 offset;
};

Result<FarPointer, Fault> far_pointer(Core& core, const Instruction& insn)
{
    const ZydisDecodedOperand& operand = insn.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_POINTER)
        return FarPointer{.selector = operand.ptr.segment, .offset = operand.ptr.offset};
    const unsigned size = operand.size / 8u - 2;
    const Gva at = linear_address(core, insn, operand);
    const u64 offset = TRY(core.mmu().load_n(at, size, purpose_of(operand)));
    return FarPointer{.selector = TRY(core.mmu().load<u16>(at + size, purpose_of(operand))),
                      .offset = offset};
}

// The code segment a direct far transfer goes to. Call gates and task switches are #GP: nobody has used them
// in 64-bit code, and 32-bit guests that do are not supported.
Result<spec::Segment, Fault> code_segment(Core& core, u16 selector, unsigned cpl)
{
    const u32 error = selector & 0xfffcu;
    if (error == 0)
        return fail(core.gp());
    spec::Segment cs = Core::segment_from(TRY(core.read_descriptor(selector)), selector);
    const unsigned type = ar::type(cs.ar);
    const unsigned dpl = ar::dpl(cs.ar);
    if (!(cs.ar & ar::S) || !(type & 8))
        return fail(core.gp(error));
    const bool conforming = type & 4;
    if (conforming ? dpl > cpl : (dpl != cpl || (selector & 3u) > cpl))
        return fail(core.gp(error));
    if (core.state().long_mode() && (cs.ar & ar::L) && (cs.ar & ar::DB))
        return fail(core.gp(error));
    if (!(cs.ar & ar::P))
        return fail(core.exception(Vector::NP, error));
    cs.selector = static_cast<u16>((selector & ~3u) | cpl);
    cs.ar |= 1;
    return cs;
}

void enter_code(Core& core, const spec::Segment& cs, u64 rip)
{
    CpuState& s = core.state();
    s.segment(Seg::cs) = cs;
    s.rip = s.code64() ? rip : static_cast<u32>(rip);
}

} // namespace

Result<Flow, Fault> jcxz(Core& core, const Instruction& insn)
{
    const u64 count = truncate(core.state().reg(Gpr::rcx), insn.z.address_width / 8);
    return count == 0 ? branch(core, insn) : Flow::next;
}

Result<Flow, Fault> loop(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned width = insn.z.address_width / 8;
    u64& rcx = s.reg(Gpr::rcx);
    const u64 count = truncate(rcx - 1, width);
    rcx = width == 8 ? count : width == 4 ? count : with_field(rcx, 15, 0, count);
    const bool zero = s.rflags & spec::rflags::ZF;
    const bool taken = count != 0 && (insn.z.mnemonic == ZYDIS_MNEMONIC_LOOP ||
                                      (insn.z.mnemonic == ZYDIS_MNEMONIC_LOOPE) == zero);
    return taken ? branch(core, insn) : Flow::next;
}

namespace {

// The frame pointers of the enclosing procedures, and the new one. SDM: "ENTER".
Result<void, Fault> push_frames(Core& core, u64 levels, u64 frame, unsigned size)
{
    CpuState& s = core.state();
    u64 rbp = s.reg(Gpr::rbp);
    for (u64 i = 1; i < levels; ++i) {
        rbp = truncate(rbp - size, s.code64() ? 8 : 4);
        const Gva at = linear_address(s, Seg::ss, rbp);
        TRY(push(core, TRY(core.mmu().load_n(at, size, Purpose::stack)), size));
    }
    return push(core, frame, size);
}

// The frame pointers, and the room below them: the new top of the stack must be writable.
Result<void, Fault> finish_frame(Core& core, u64 levels, u64 frame, unsigned size, u64 allocate)
{
    if (levels != 0)
        TRY(push_frames(core, levels, frame, size));
    release(core, -allocate);
    const CpuState& s = core.state();
    TRY(core.mmu().translate(linear_address(s, Seg::ss, s.reg(Gpr::rsp)), Access::write, Purpose::stack));
    return {};
}

} // namespace

Result<Flow, Fault> enter(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const u64 levels = insn.operands[1].imm.value.u & 31;
    const unsigned size = insn.z.operand_width == 16 ? 2 : s.code64() ? 8 : 4;
    const u64 allocate = insn.operands[0].imm.value.u & 0xffff;
    const u64 rsp = s.reg(Gpr::rsp);
    TRY(push(core, s.reg(Gpr::rbp), size));
    const u64 frame = s.reg(Gpr::rsp);
    const Result<void, Fault> done = finish_frame(core, levels, frame, size, allocate);
    if (!done) {
        s.reg(Gpr::rsp) = rsp;
        return fail(done.error());
    }
    s.reg(Gpr::rbp) = size == 2 ? with_field(s.reg(Gpr::rbp), 15, 0, frame) : frame;
    return Flow::next;
}

Result<Flow, Fault> far_jmp(Core& core, const Instruction& insn)
{
    const FarPointer to = TRY(far_pointer(core, insn));
    const spec::Segment cs = TRY(code_segment(core, to.selector, core.state().cpl()));
    enter_code(core, cs, to.offset);
    return Flow::stay;
}

Result<Flow, Fault> far_call(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8u;
    const FarPointer to = TRY(far_pointer(core, insn));
    const spec::Segment cs = TRY(code_segment(core, to.selector, s.cpl()));
    const u64 rsp = s.reg(Gpr::rsp);
    TRY(push(core, s.segment(Seg::cs).selector, size));
    const Result<void, Fault> pushed = push(core, s.rip + insn.length(), size);
    if (!pushed) {
        s.reg(Gpr::rsp) = rsp;
        return fail(pushed.error());
    }
    enter_code(core, cs, to.offset);
    return Flow::stay;
}

Result<Flow, Fault> far_ret(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8u;
    const u64 rip = TRY(peek(core, 0, size));
    const u16 selector = static_cast<u16>(TRY(peek(core, 1, size)));
    const unsigned rpl = selector & 3u;
    if (rpl < s.cpl())
        return fail(core.gp(selector & 0xfffcu));
    const u64 extra =
        insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? insn.operands[0].imm.value.u & 0xffff : 0;
    const bool outer = rpl > s.cpl();
    const spec::Segment cs = TRY(code_segment(core, selector, rpl));
    if (!outer) {
        release(core, 2 * size + extra);
        enter_code(core, cs, rip);
        return Flow::stay;
    }
    TRY(return_to_outer(core, cs, 2 * size + extra, size));
    enter_code(core, cs, rip);
    return Flow::stay;
}

} // namespace seamless::cpu::op
