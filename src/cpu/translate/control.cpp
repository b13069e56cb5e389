// SPDX-License-Identifier: Apache-2.0
// Stack and flow: what changes RSP or RIP. All lookups of an instruction come before its first effect.
#include "cpu/translate/emitter.h"

namespace seamless::cpu {

using decode::CodeSize;
using decode::Instruction;
using decode::Operation;

namespace {

// Near branches in 64-bit mode have 64-bit targets; elsewhere the operand size decides. In bytes.
unsigned branch_size(const Instruction& insn)
{
    return insn.z.machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 8 : insn.z.operand_width / 8u;
}

// PUSH, POP: the operand size is 64 bits in 64-bit mode unless 66H makes it 16.
unsigned stack_size(const Instruction& insn)
{
    if (insn.z.machine_mode == ZYDIS_MACHINE_MODE_LONG_64)
        return insn.z.operand_width == 16 ? 2 : 8;
    return insn.z.operand_width / 8u;
}

} // namespace

void Emitter::advance_stack(i64 bytes) { a_.lea(kGuestRsp, kGuestRsp, static_cast<i32>(bytes), !stack32()); }

bool Emitter::control(const Instruction& insn, u16 index, u16 offset, bool flags_live)
{
    switch (insn.operation) {
    case Operation::lea:
        lea(insn);
        return true;
    case Operation::push:
        push(insn, index, flags_live);
        return true;
    case Operation::pop:
        pop(insn, index, flags_live);
        return true;
    case Operation::leave:
        leave(insn, index, flags_live);
        return true;
    case Operation::jcc:
        jcc(insn, offset);
        return false;
    case Operation::jmp:
        jmp(insn, index, offset, flags_live);
        return false;
    case Operation::call:
        call(insn, index, offset, flags_live);
        return false;
    case Operation::ret:
        ret(insn, index, flags_live);
        return false;
    default:
        CHECK(false);
        return false;
    }
}

void Emitter::lea(const Instruction& insn)
{
    address(insn.operands[1], 0, false);
    write_guest(insn.operands[0].reg.value, kScratch, insn.z.operand_width / 8u);
}

// Stores what `value_to_r15` leaves in r15 below the stack pointer.
void Emitter::push_value(unsigned size, u16 index, bool flags_live, const Emit& value_to_r15)
{
    a_.lea(kScratch, kGuestRsp, -static_cast<i32>(size), !stack32());
    add_segment_base(ZYDIS_REGISTER_SS);
    lookup({.size = static_cast<u16>(size), .write = true, .stack = true, .index = index}, flags_live,
           [this, size, index, value_to_r15] {
               value_to_r15();
               store_operand(kScratch2, size, index);
           });
    advance_stack(-static_cast<i64>(size));
}

void Emitter::push(const Instruction& insn, u16 index, bool flags_live)
{
    const unsigned size = stack_size(insn);
    const ZydisDecodedOperand& operand = insn.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        push_value(size, index, flags_live, [this, reg = operand.reg.value] { read_guest(kScratch2, reg); });
    } else if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        push_value(size, index, flags_live,
                   [this, value = operand.imm.value.u] { a_.mov_imm(kScratch2, value); });
    } else {
        address(operand);
        lookup({.size = static_cast<u16>(size),
                .write = false,
                .stack = operand.mem.segment == ZYDIS_REGISTER_SS,
                .index = index},
               flags_live, [this, size, index] {
                   load_operand(kScratch2, size, index);
                   a_.store(FRAME(temp), kScratch2);
               });
        push_value(size, index, flags_live, [this] { a_.load(kScratch2, FRAME(temp)); });
    }
}

void Emitter::pop(const Instruction& insn, u16 index, bool flags_live)
{
    const unsigned size = stack_size(insn);
    const ZydisDecodedOperand& operand = insn.operands[0];
    a_.lea(kScratch, kGuestRsp, 0, !stack32());
    add_segment_base(ZYDIS_REGISTER_SS);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] {
               load_operand(kScratch2, size, index);
               a_.store(FRAME(temp), kScratch2);
           });
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        advance_stack(size); // before the write: POP RSP keeps what was read
        a_.load(kScratch2, FRAME(temp));
        write_guest(operand.reg.value, kScratch2, size);
        return;
    }
    address(operand, size); // SDM: POP computes an address based on RSP after the increment
    lookup({.size = static_cast<u16>(size),
            .write = true,
            .stack = operand.mem.segment == ZYDIS_REGISTER_SS,
            .index = index},
           flags_live, [this, size, index] {
               a_.load(kScratch2, FRAME(temp));
               store_operand(kScratch2, size, index);
           });
    advance_stack(size);
}

void Emitter::leave(const Instruction& insn, u16 index, bool flags_live)
{
    const unsigned size = stack_size(insn);
    a_.lea(kScratch, Host::rbp, 0, !stack32());
    add_segment_base(ZYDIS_REGISTER_SS);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] {
               load_operand(kScratch2, size, index);
               a_.store(FRAME(temp), kScratch2);
           });
    a_.lea(kGuestRsp, Host::rbp, static_cast<i32>(size), !stack32());
    a_.load(kScratch2, FRAME(temp));
    a_.mov_sized(Host::rbp, kScratch2, size);
}

// The target of an indirect branch, in Frame::temp.
void Emitter::branch_target_to_temp(const Instruction& insn, u16 index, bool flags_live)
{
    const ZydisDecodedOperand& operand = insn.operands[0];
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        read_guest(kScratch2, operand.reg.value);
        a_.store(FRAME(temp), kScratch2);
        return;
    }
    const unsigned size = branch_size(insn);
    address(operand);
    lookup({.size = static_cast<u16>(size),
            .write = false,
            .stack = operand.mem.segment == ZYDIS_REGISTER_SS,
            .index = index},
           flags_live, [this, size, index] {
               load_operand(kScratch2, size, index);
               a_.store(FRAME(temp), kScratch2);
           });
}

void Emitter::exit_to_temp(unsigned size)
{
    a_.load(kScratch2, FRAME(temp));
    if (size == 4)
        a_.mov32(kScratch2, kScratch2);
    exit_to_rip_in_r15();
}

void Emitter::call(const Instruction& insn, u16 index, u16 offset, bool flags_live)
{
    const unsigned size = branch_size(insn);
    const bool direct = insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    const i64 next = offset + insn.length();
    if (!direct)
        branch_target_to_temp(insn, index, flags_live);
    push_value(size, index, flags_live, [this, next] {
        a_.load(kScratch2, FRAME(page_gva));
        a_.lea(kScratch2, kScratch2, static_cast<i32>(next), mode_.code == CodeSize::bits64);
    });
    if (direct)
        exit_to(next + insn.operands[0].imm.value.s);
    else
        exit_to_temp(size);
}

void Emitter::ret(const Instruction& insn, u16 index, bool flags_live)
{
    const unsigned size = branch_size(insn);
    i64 release = size;
    if (insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        release += insn.operands[0].imm.value.u & 0xffff;
    a_.lea(kScratch, kGuestRsp, 0, !stack32());
    add_segment_base(ZYDIS_REGISTER_SS);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] {
               load_operand(kScratch2, size, index);
               a_.store(FRAME(temp), kScratch2);
           });
    advance_stack(release);
    exit_to_temp(size);
}

void Emitter::jmp(const Instruction& insn, u16 index, u16 offset, bool flags_live)
{
    if (insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return exit_to(offset + insn.length() + insn.operands[0].imm.value.s);
    branch_target_to_temp(insn, index, flags_live);
    exit_to_temp(branch_size(insn));
}

void Emitter::jcc(const Instruction& insn, u16 offset)
{
    const u8 condition = insn.z.opcode & 0xf; // the same nibble in 70+cc and 0F 80+cc
    const i64 next = offset + insn.length();
    const i64 target = next + insn.operands[0].imm.value.s;
    if (links_to(target) && target >= next) {
        link_edge(static_cast<u16>(target), false, condition);
        return exit_to(next);
    }
    const u32 taken = a_.jcc_forward(condition);
    exit_to(next);
    a_.patch(taken);
    exit_to(target);
}

} // namespace seamless::cpu
