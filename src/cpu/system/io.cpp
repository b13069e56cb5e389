// SPDX-License-Identifier: Apache-2.0
// Port I/O always leaves the guest: there are no ports in a processor. SDM: "IN", "OUT", "I/O Permission Bit
// Map".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::ExitReason;
using spec::Gpr;
using spec::Seg;

namespace {

// #GP(0) unless CPL <= IOPL or the TSS's bit map allows every byte of the access.
Result<void, Fault> check_permission(Core& core, u16 port, unsigned size)
{
    CpuState& s = core.state();
    if (!s.protected_mode() || s.cpl() <= field(s.rflags, 13, 12))
        return {};
    const spec::Segment& tr = s.segment(Seg::tr);
    if (tr.limit < 103)
        return fail(core.gp());
    const u16 map = TRY(core.mmu().load<u16>(Gva(tr.base + 102), Purpose::implicit));
    const u64 at = map + u64{port} / 8;
    if (at + 1 > tr.limit)
        return fail(core.gp());
    const u16 allowed = TRY(core.mmu().load<u16>(Gva(tr.base + at), Purpose::implicit));
    if ((allowed >> (port % 8)) & ((1u << size) - 1))
        return fail(core.gp());
    return {};
}

u64 qualification(const Instruction& insn, unsigned size, bool in, bool string, bool immediate, u16 port)
{
    u64 q = (size - 1) | u64{port} << 16;
    if (in)
        q |= spec::io_qual::IN;
    if (string)
        q |= spec::io_qual::STRING;
    if (insn.has(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
        q |= spec::io_qual::REP;
    if (immediate)
        q |= spec::io_qual::IMMEDIATE;
    return q;
}

Result<Flow, Fault> register_io(Core& core, const Instruction& insn, bool is_in)
{
    const ZydisDecodedOperand& data = insn.operands[is_in ? 0 : 1];
    const ZydisDecodedOperand& port_operand = insn.operands[is_in ? 1 : 0];
    const bool immediate = port_operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    const u16 port = static_cast<u16>(immediate ? port_operand.imm.value.u : core.state().reg(Gpr::rdx));
    const unsigned size = data.size / 8u;
    TRY(check_permission(core, port, size));
    return fail(
        core.exit(ExitReason::IO_INSTRUCTION, qualification(insn, size, is_in, false, immediate, port)));
}

// The exit tells the linear address and how the instruction is formed; what is above does the transfer.
Result<Flow, Fault> string_io(Core& core, const Instruction& insn, bool is_in)
{
    const u16 port = static_cast<u16>(core.state().reg(Gpr::rdx));
    const ZydisDecodedOperand* memory = nullptr;
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
            memory = &operand;
    const unsigned size = memory->size / 8u;
    TRY(check_permission(core, port, size));
    const u32 address_size = insn.z.address_width == 16 ? 0 : insn.z.address_width == 32 ? 1 : 2;
    const u32 info = address_size << 7 | static_cast<u32>(segment_of(memory->mem.segment)) << 15;
    const Gva gla = linear_address(core, insn, *memory);
    const Fault fault =
        core.exit(ExitReason::IO_INSTRUCTION, qualification(insn, size, is_in, true, false, port), info);
    core.fault_record().gla = gla;
    return fail(fault);
}

} // namespace

Result<Flow, Fault> in(Core& core, const Instruction& insn) { return register_io(core, insn, true); }
Result<Flow, Fault> out(Core& core, const Instruction& insn) { return register_io(core, insn, false); }
Result<Flow, Fault> ins(Core& core, const Instruction& insn) { return string_io(core, insn, true); }
Result<Flow, Fault> outs(Core& core, const Instruction& insn) { return string_io(core, insn, false); }

} // namespace seamless::cpu::op
