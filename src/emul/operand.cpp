// SPDX-License-Identifier: Apache-2.0
// Operands of the instruction: registers in the emulator's copy, memory through the vCPU's port.
#include <algorithm>
#include <cstring>

#include "emul/emulator.h"

namespace seamless::emul {

using spec::Gpr;
using spec::Seg;

namespace {

Result<void, X86Emul> to_result(X86Emul answer)
{
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    return {};
}

bool is_memory(const ZydisDecodedOperand& operand) { return operand.type == ZYDIS_OPERAND_TYPE_MEMORY; }

bool is_segment(const ZydisDecodedOperand& operand)
{
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

} // namespace

Seg Emulator::segment_of(ZydisRegister r)
{
    constexpr Seg kOrder[] = {Seg::es, Seg::cs, Seg::ss, Seg::ds, Seg::fs, Seg::gs};
    return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS ? kOrder[r - ZYDIS_REGISTER_ES] : Seg::ds;
}

bool Emulator::has_sole_memory_operand() const
{
    return std::ranges::count_if(insn_->all_operands(), is_memory) == 1 && !repeated();
}

Result<Emulator::Wide, X86Emul> Emulator::read_wide(const LinearAccess& access, unsigned bytes)
{
    Wide value;
    if (bytes > sizeof value || reads_.at + bytes > reads_.data.size())
        return fail(X86EMUL_UNHANDLEABLE);
    u8* const data = reads_.data.data() + reads_.at;
    if (reads_.at == reads_.end) {
        TRY(to_result(cpu_.read_emulated(access, {data, bytes})));
        reads_.end += bytes;
    }
    reads_.at += bytes;
    std::memcpy(&value, data, bytes);
    return value;
}

Result<u64, X86Emul> Emulator::read_memory(const LinearAccess& access, unsigned bytes)
{
    return TRY(read_wide(access, bytes)).low;
}

Result<void, X86Emul> Emulator::write_memory(const LinearAccess& access, std::span<const u8> bytes)
{
    return to_result(cpu_.write_emulated(access, bytes));
}

Result<Emulator::Wide, X86Emul> Emulator::read_operand(const ZydisDecodedOperand& operand, bool modify)
{
    const unsigned bytes = operand.size / 8u;
    switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        if (is_vector(operand))
            return read_vector(operand.reg.value);
        if (is_segment(operand))
            return Wide{.low = cpu_.segment(segment_of(operand.reg.value)).selector};
        return Wide{.low = regs_.read(operand.reg.value)};
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return Wide{.low = operand.imm.value.u + (operand.imm.is_relative ? next_rip_ : 0)};
    case ZYDIS_OPERAND_TYPE_MEMORY:
        break;
    default:
        return fail(X86EMUL_UNHANDLEABLE);
    }
    const u64 linear = TRY(linear_of(operand, bytes, false));
    return read_wide({.linear = linear, .sole = has_sole_memory_operand(), .modify = modify}, bytes);
}

Result<void, X86Emul> Emulator::write_operand(const ZydisDecodedOperand& operand, const Wide& value)
{
    const unsigned bytes = operand.size / 8u;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        if (is_vector(operand))
            write_vector(operand.reg.value, value);
        else
            regs_.write(operand.reg.value, value.low);
        return {};
    }
    if (!is_memory(operand) || bytes > sizeof value)
        return fail(X86EMUL_UNHANDLEABLE);
    const u64 linear = TRY(linear_of(operand, bytes, true));
    u8 data[sizeof value];
    std::memcpy(data, &value, sizeof value);
    return write_memory({.linear = linear, .sole = has_sole_memory_operand()}, {data, bytes});
}

Result<void, X86Emul> Emulator::read_operands(Operation& op)
{
    const ZydisDecodedOperand& first = insn_->operands[0];
    const ZydisDecodedOperand& second = insn_->operands[1];
    const u32 form = row_->form;
    op.size = (form & kPortOut ? second.size : first.size) / 8u;
    op.src_size = second.size / 8u;
    // Of byte operands, a product and a dividend fill AX.
    op.accumulator = regs_.read(Gpr::rax, form & kWide ? std::max(op.size, 2u) : op.size);
    op.high = regs_.read(Gpr::rdx, 8);
    if (form & kMmx)
        enter_mmx();
    if (form & kReadSrc) {
        const Wide source = TRY(read_operand(second, false));
        op.src = source.low;
        op.src_high = source.high;
    }
    if (form & kReadDst)
        op.dst = TRY(read_operand(first, (form & kWriteDst) != 0)).low;
    if (form & kPortIn)
        op.src = TRY(read_port(op.size));
    if (form & kReadCount)
        op.count = TRY(read_operand(insn_->operands[2], false)).low;
    return {};
}

// Memory first: if it cannot be written, no register has changed.
Result<void, X86Emul> Emulator::write_operands(const Operation& op)
{
    const u32 form = row_->form;
    const ZydisDecodedOperand& first = insn_->operands[0];
    if (form & kPortOut) {
        const auto port = static_cast<u16>(regs_.read(Gpr::rdx, 2));
        u8 data[sizeof op.dst];
        std::memcpy(data, &op.dst, sizeof data);
        TRY(to_result(cpu_.pio_out(port, {data, op.size})));
    }
    if (form & kPortIn)
        TRY(write_ahead(op.size));
    else if ((form & kWriteDst) && is_memory(first))
        TRY(write_operand(first, {op.dst, op.dst_high}));
    if (form & kWriteSrc)
        TRY(write_operand(insn_->operands[1], {.low = op.src}));
    if ((form & kWriteDst) && !is_memory(first) && op.write_dst)
        TRY(write_operand(first, {op.dst, op.dst_high}));
    if (op.write_accumulator)
        regs_.write(Gpr::rax, form & kWide ? std::max(op.size, 2u) : op.size, op.accumulator);
    if (op.write_accumulator && (form & kWide) && op.size > 1)
        regs_.write(Gpr::rdx, op.size, op.high);
    return {};
}

} // namespace seamless::emul
