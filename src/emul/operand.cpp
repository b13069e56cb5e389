// SPDX-License-Identifier: Apache-2.0
// Operands: registers from the emulator's copy, memory and ports through the vCPU's port.
#include <algorithm>
#include <cstring>

#include "emul/emulator.h"

namespace seamless::emul {

using spec::Gpr;
using spec::Seg;

namespace {

Seg segment_of(ZydisRegister r)
{
    constexpr Seg kOrder[] = {Seg::es, Seg::cs, Seg::ss, Seg::ds, Seg::fs, Seg::gs};
    return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS ? kOrder[r - ZYDIS_REGISTER_ES] : Seg::ds;
}

Result<void, X86Emul> to_result(X86Emul answer)
{
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    return {};
}

} // namespace

bool Emulator::has_sole_memory_operand() const
{
    const auto memory = std::ranges::count_if(insn_.all_operands(), [](const ZydisDecodedOperand& o) {
        return o.type == ZYDIS_OPERAND_TYPE_MEMORY;
    });
    return memory == 1 && !repeated();
}

template <typename Read>
Result<u64, X86Emul> Emulator::read_once(unsigned bytes, Read read)
{
    u64 value = 0;
    if (bytes > sizeof value || reads_.at + bytes > reads_.data.size())
        return fail(X86EMUL_UNHANDLEABLE);
    u8* const data = reads_.data.data() + reads_.at;
    if (reads_.at == reads_.end) {
        TRY(read(std::span<u8>(data, bytes)));
        reads_.end += bytes;
    }
    reads_.at += bytes;
    std::memcpy(&value, data, bytes);
    return value;
}

Result<u64, X86Emul> Emulator::read_operand(const ZydisDecodedOperand& operand)
{
    const unsigned bytes = operand.size / 8u;
    switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return regs_.read(operand.reg.value);
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        return operand.imm.value.u;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        break;
    default:
        return fail(X86EMUL_UNHANDLEABLE);
    }
    const u64 linear =
        TRY(linearize(segment_of(operand.mem.segment), offset_of(operand), bytes, false, false));
    const LinearAccess access{.linear = linear, .sole = has_sole_memory_operand()};
    return read_once(bytes, [&](std::span<u8> data) { return to_result(cpu_.read_emulated(access, data)); });
}

Result<void, X86Emul> Emulator::write_operand(const ZydisDecodedOperand& operand, u64 value)
{
    const unsigned bytes = operand.size / 8u;
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        regs_.write(operand.reg.value, value);
        return {};
    }
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || bytes > sizeof value)
        return fail(X86EMUL_UNHANDLEABLE);
    const u64 linear =
        TRY(linearize(segment_of(operand.mem.segment), offset_of(operand), bytes, true, false));
    const LinearAccess access{.linear = linear, .sole = has_sole_memory_operand()};
    u8 data[sizeof value];
    std::memcpy(data, &value, sizeof value);
    return to_result(cpu_.write_emulated(access, {data, bytes}));
}

Result<u64, X86Emul> Emulator::read_port(unsigned bytes)
{
    const auto port = static_cast<u16>(regs_.read(Gpr::rdx, 2));
    return read_once(bytes, [&](std::span<u8> data) { return to_result(cpu_.pio_in(port, data)); });
}

Result<void, X86Emul> Emulator::read_operands(Operation& op)
{
    const ZydisDecodedOperand& first = insn_.operands[0];
    const ZydisDecodedOperand& second = insn_.operands[1];
    const u16 form = row_->form;
    op.size = (form & kPortOut ? second.size : first.size) / 8u;
    op.src_size = second.size / 8u;
    op.accumulator = regs_.read(Gpr::rax, op.size);
    if (form & kReadSrc)
        op.src = TRY(read_operand(second));
    if (form & kReadDst)
        op.dst = TRY(read_operand(first));
    if (form & kPortIn)
        op.src = TRY(read_port(op.size));
    return {};
}

// Memory first: if it cannot be written, no register has changed.
Result<void, X86Emul> Emulator::write_operands(const Operation& op)
{
    const u16 form = row_->form;
    if (form & kPortOut) {
        const auto port = static_cast<u16>(regs_.read(Gpr::rdx, 2));
        u8 data[sizeof op.dst];
        std::memcpy(data, &op.dst, sizeof data);
        TRY(to_result(cpu_.pio_out(port, {data, op.size})));
    }
    const bool first_is_memory = insn_.operands[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    if ((form & kWriteDst) && first_is_memory)
        TRY(write_operand(insn_.operands[0], op.dst));
    if (form & kWriteSrc)
        TRY(write_operand(insn_.operands[1], op.src));
    if ((form & kWriteDst) && !first_is_memory)
        TRY(write_operand(insn_.operands[0], op.dst));
    if (op.write_accumulator)
        regs_.write(Gpr::rax, op.size, op.accumulator);
    return {};
}

} // namespace seamless::emul
