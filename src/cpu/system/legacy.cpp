// SPDX-License-Identifier: Apache-2.0
// Instructions of 32-bit code that a 64-bit host has no encoding for. Flags that the SDM leaves undefined are
// clear.
#include <bit>
#include <cstring>

#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::Gpr;
using spec::Vector;
namespace rf = spec::rflags;

namespace {

constexpr Gpr kPushed[] = {Gpr::rax, Gpr::rcx, Gpr::rdx, Gpr::rbx, Gpr::rsp, Gpr::rbp, Gpr::rsi, Gpr::rdi};
constexpr unsigned kPushedCount = 8;

void set_flags(CpuState& s, u64 flags) { s.rflags = (s.rflags & ~rf::kArithmetic) | flags; }

// SF, ZF and PF of a byte.
u64 result_flags(u8 value)
{
    return (value & 0x80 ? rf::SF : 0) | (value == 0 ? rf::ZF : 0) |
           (std::popcount(value) % 2 == 0 ? rf::PF : 0);
}

u8 low_byte(const CpuState& s) { return static_cast<u8>(s.reg(Gpr::rax)); }
void set_ax(CpuState& s, unsigned ah, unsigned al)
{
    write_register(s, ZYDIS_REGISTER_AX, (ah & 0xff) << 8 | (al & 0xff));
}

} // namespace

// All eight, or none: the lowest address is probed first.
Result<Flow, Fault> pusha(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8u;
    const u64 top = s.reg(Gpr::rsp);
    u8 image[kPushedCount * 4];
    for (unsigned i = 0; i < kPushedCount; ++i) {
        const u32 value = static_cast<u32>(s.reg(kPushed[i]));
        std::memcpy(image + (kPushedCount - 1 - i) * size, &value, size);
    }
    const u64 rsp = static_cast<u32>(top - u64{kPushedCount} * size);
    TRY(core.mmu().write(linear_address(s, spec::Seg::ss, rsp), std::span(image).first(kPushedCount * size),
                         Purpose::stack));
    s.reg(Gpr::rsp) = rsp;
    return Flow::next;
}

Result<Flow, Fault> popa(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8u;
    u64 values[kPushedCount];
    for (unsigned i = 0; i < kPushedCount; ++i)
        values[i] = TRY(peek(core, kPushedCount - 1 - i, size));
    for (unsigned i = 0; i < kPushedCount; ++i) {
        u64& reg = s.reg(kPushed[i]);
        if (kPushed[i] != Gpr::rsp)
            reg = size == 4 ? values[i] : with_field(reg, 15, 0, values[i]);
    }
    release(core, u64{kPushedCount} * size);
    return Flow::next;
}

// AAA, AAS.
Result<Flow, Fault> ascii_adjust(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned ax = static_cast<u16>(s.reg(Gpr::rax));
    const bool adjust = (ax & 0xf) > 9 || (s.rflags & rf::AF);
    const unsigned by = adjust ? 0x106 : 0;
    const unsigned result = insn.z.mnemonic == ZYDIS_MNEMONIC_AAA ? ax + by : ax - by;
    set_ax(s, result >> 8, result & 0xf);
    set_flags(s, adjust ? rf::AF | rf::CF : 0);
    return Flow::next;
}

// DAA, DAS.
Result<Flow, Fault> decimal_adjust(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const bool add = insn.z.mnemonic == ZYDIS_MNEMONIC_DAA;
    const u8 before = low_byte(s);
    u8 al = before;
    u64 flags = 0;
    const auto adjust = [&](u8 by) { al = static_cast<u8>(add ? al + by : al - by); };
    if ((before & 0xf) > 9 || (s.rflags & rf::AF)) {
        adjust(6);
        flags |= rf::AF;
        if ((s.rflags & rf::CF) || (add ? before > 0xf9 : before < 6))
            flags |= rf::CF;
    }
    if (before > 0x99 || (s.rflags & rf::CF)) {
        adjust(0x60);
        flags |= rf::CF;
    }
    write_register(s, ZYDIS_REGISTER_AL, al);
    set_flags(s, flags | result_flags(al));
    return Flow::next;
}

Result<Flow, Fault> aam(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const u8 base = static_cast<u8>(insn.operands[0].imm.value.u);
    if (base == 0)
        return fail(core.exception(Vector::DE));
    const u8 al = low_byte(s);
    set_ax(s, al / base, al % base);
    set_flags(s, result_flags(static_cast<u8>(al % base)));
    return Flow::next;
}

Result<Flow, Fault> aad(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned base = static_cast<u8>(insn.operands[0].imm.value.u);
    const u8 al = static_cast<u8>(low_byte(s) + field(s.reg(Gpr::rax), 15, 8) * base);
    set_ax(s, 0, al);
    set_flags(s, result_flags(al));
    return Flow::next;
}

// Both bounds are signed and inclusive.
Result<Flow, Fault> bound(Core& core, const Instruction& insn)
{
    const CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8u;
    const unsigned width = size * 8;
    const Gva at = linear_address(core, insn, insn.operands[1]);
    const Purpose purpose = purpose_of(insn.operands[1]);
    const auto number = [width](u64 value) { return static_cast<i64>(sign_extend(value, width)); };
    const i64 lower = number(TRY(core.mmu().load_n(at, size, purpose)));
    const i64 upper = number(TRY(core.mmu().load_n(at + size, size, purpose)));
    const i64 index = number(read_register(s, insn.operands[0].reg.value));
    if (index < lower || index > upper)
        return fail(core.exception(Vector::BR));
    return Flow::next;
}

Result<Flow, Fault> arpl(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const u64 target = TRY(read_operand(core, insn, insn.operands[0]));
    const u64 rpl = read_register(s, insn.operands[1].reg.value) & 3;
    const bool raise = (target & 3) < rpl;
    if (raise)
        TRY(write_operand(core, insn, insn.operands[0], (target & ~u64{3}) | rpl));
    s.rflags = (s.rflags & ~rf::ZF) | (raise ? rf::ZF : 0);
    return Flow::next;
}

Result<Flow, Fault> salc(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    write_register(s, ZYDIS_REGISTER_AL, s.rflags & rf::CF ? 0xff : 0);
    return Flow::next;
}

} // namespace seamless::cpu::op
