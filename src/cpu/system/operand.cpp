// SPDX-License-Identifier: Apache-2.0
// Operands of instructions that C++ executes.
#include "cpu/system/operand.h"

#include "cpu/translate/emitter.h"

namespace seamless::cpu {

using decode::Instruction;
using spec::Gpr;
using spec::Seg;

u64 read_register(const CpuState& state, ZydisRegister r)
{
    const u64 value = state.gpr[guest_number(r)];
    if (is_high_byte(r))
        return value >> 8 & 0xff;
    return truncate(value, static_cast<unsigned>(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r)) / 8);
}

void write_register(CpuState& state, ZydisRegister r, u64 value)
{
    u64& reg = state.gpr[guest_number(r)];
    if (is_high_byte(r)) {
        reg = with_field(reg, 15, 8, value);
        return;
    }
    switch (ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r)) {
    case 8:
        reg = with_field(reg, 7, 0, value);
        break;
    case 16:
        reg = with_field(reg, 15, 0, value);
        break;
    case 32:
        reg = static_cast<u32>(value);
        break;
    default:
        reg = value;
        break;
    }
}

Seg segment_of(ZydisRegister r)
{
    constexpr Seg kOrder[] = {Seg::es, Seg::cs, Seg::ss, Seg::ds, Seg::fs, Seg::gs};
    return kOrder[r - ZYDIS_REGISTER_ES];
}

Gva linear_address(const CpuState& state, Seg seg, u64 offset)
{
    if (!state.code64())
        return Gva(static_cast<u32>(offset + state.segment(seg).base));
    return Gva(seg == Seg::fs || seg == Seg::gs ? offset + state.segment(seg).base : offset);
}

Gva linear_address(Core& core, const Instruction& insn, const ZydisDecodedOperand& operand)
{
    const CpuState& s = core.state();
    const auto& mem = operand.mem;
    u64 offset = mem.disp.has_displacement ? static_cast<u64>(mem.disp.value) : 0;
    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP)
        offset += s.rip + insn.length();
    else if (mem.base != ZYDIS_REGISTER_NONE)
        offset += read_register(s, mem.base);
    if (mem.index != ZYDIS_REGISTER_NONE)
        offset += read_register(s, mem.index) * mem.scale;
    offset = truncate(offset, insn.z.address_width / 8);
    return linear_address(s, segment_of(mem.segment), offset);
}

Purpose purpose_of(const ZydisDecodedOperand& operand)
{
    return operand.mem.segment == ZYDIS_REGISTER_SS ? Purpose::stack : Purpose::data;
}

Result<u64, Fault> read_operand(Core& core, const Instruction& insn, const ZydisDecodedOperand& operand)
{
    switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return read_register(core.state(), operand.reg.value);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return operand.imm.value.u;
    default:
        return core.mmu().load_n(linear_address(core, insn, operand), operand.size / 8, purpose_of(operand));
    }
}

Result<void, Fault> write_operand(Core& core, const Instruction& insn, const ZydisDecodedOperand& operand,
                                  u64 value)
{
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        write_register(core.state(), operand.reg.value, value);
        return {};
    }
    return core.mmu().store_n(linear_address(core, insn, operand), operand.size / 8, value,
                              purpose_of(operand));
}

namespace {

u64 stack_pointer(const CpuState& s, i64 delta)
{
    const u64 rsp = s.reg(Gpr::rsp) + static_cast<u64>(delta);
    return s.code64() ? rsp : static_cast<u32>(rsp);
}

} // namespace

Result<void, Fault> push(Core& core, u64 value, unsigned size)
{
    CpuState& s = core.state();
    const u64 rsp = stack_pointer(s, -static_cast<i64>(size));
    TRY(core.mmu().store_n(linear_address(s, Seg::ss, rsp), size, value, Purpose::stack));
    s.reg(Gpr::rsp) = rsp;
    return {};
}

Result<u64, Fault> peek(Core& core, unsigned index, unsigned size)
{
    CpuState& s = core.state();
    const u64 at = stack_pointer(s, static_cast<i64>(index) * size);
    return core.mmu().load_n(linear_address(s, Seg::ss, at), size, Purpose::stack);
}

void release(Core& core, u64 bytes)
{
    core.state().reg(Gpr::rsp) = stack_pointer(core.state(), static_cast<i64>(bytes));
}

} // namespace seamless::cpu
