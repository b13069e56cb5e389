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

void Emitter::stack_address(Host base, i32 disp)
{
    if (shared_)
        return;
    a_.lea(kScratch, base, disp, !stack32());
    add_segment_base(ZYDIS_REGISTER_SS);
}

bool Emitter::control(const Instruction& insn, u16 index, bool flags_live)
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
        jcc(insn, block_.insns[index].offset);
        return false;
    case Operation::jmp:
        jmp(insn, index, flags_live);
        return false;
    case Operation::call:
        call_push(insn, index, flags_live);
        call_go(insn);
        return false;
    case Operation::ret:
        ret_pop(insn, index, flags_live);
        ret_go();
        return false;
    default:
        CHECK(false);
        return false;
    }
}

bool lea_needs_scratch(const Instruction& insn)
{
    const auto framed = [](ZydisRegister r) {
        return r != ZYDIS_REGISTER_NONE && is_general(r) && in_frame(guest_number(r));
    };
    return framed(insn.operands[1].mem.base) && framed(insn.operands[1].mem.index);
}

// Leaves r14 alone unless both registers are in the frame.
void Emitter::lea(const Instruction& insn)
{
    const auto& mem = insn.operands[1].mem;
    const ZydisRegister dest = insn.operands[0].reg.value;
    const unsigned guest = guest_number(dest);
    const bool direct = !in_frame(guest) && insn.z.operand_width >= 32;
    const Host to = direct ? host_of(guest) : kScratch2;
    const bool wide = insn.z.operand_width == 64 && address_width_ == 64;
    const auto source = [this](ZydisRegister r, Host loan) {
        if (!in_frame(guest_number(r)))
            return host_of(guest_number(r));
        a_.load(loan, guest_slot(guest_number(r)));
        return loan;
    };
    const i64 disp = mem.disp.has_displacement ? mem.disp.value : 0;
    const i32 d = static_cast<i32>(disp);
    const bool base = mem.base != ZYDIS_REGISTER_NONE, index = mem.index != ZYDIS_REGISTER_NONE;
    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
        const GuestInsn& now = block_.insns[now_];
        a_.load(kScratch2, FRAME(page_gva));
        a_.lea(kScratch2, kScratch2, now.offset + now.length); // apart: the sum may not fit a displacement
        a_.lea(to, kScratch2, d, wide && mem.base == ZYDIS_REGISTER_RIP);
    } else if (base && index) {
        const Host from = source(mem.base, kScratch2);
        a_.lea(to, from, source(mem.index, from == kScratch2 ? kScratch : kScratch2), mem.scale, d, wide);
    } else if (base) {
        a_.lea(to, source(mem.base, kScratch2), d, wide);
    } else if (index) {
        a_.lea_scaled(to, source(mem.index, kScratch2), mem.scale, d, wide);
    } else {
        a_.mov_imm(to, static_cast<u64>(disp) & (wide ? ~u64{0} : 0xffffffff));
    }
    if (!direct)
        write_guest(dest, kScratch2, insn.z.operand_width / 8u);
}

// Stores what `value_to_r15` leaves in r15 below the stack pointer.
void Emitter::push_value(unsigned size, u16 index, bool flags_live, const Emit& value_to_r15)
{
    stack_address(kGuestRsp, -static_cast<i32>(size));
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
    stack_address(kGuestRsp, 0);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] { load_operand(kScratch2, size, index); });
    if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        advance_stack(size); // before the write: POP RSP keeps what was read
        write_guest(operand.reg.value, kScratch2, size);
        return;
    }
    a_.store(FRAME(temp), kScratch2);
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
    stack_address(Host::rbp, 0);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] { load_operand(kScratch2, size, index); });
    a_.lea(kGuestRsp, Host::rbp, static_cast<i32>(size), !stack32());
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

void Emitter::call_push(const Instruction& insn, u16 index, bool flags_live)
{
    const i64 next = block_.insns[index].offset + insn.length();
    if (insn.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        branch_target_to_temp(insn, index, flags_live);
    push_value(branch_size(insn), index, flags_live, [this, next] {
        a_.load(kScratch2, FRAME(page_gva));
        a_.lea(kScratch2, kScratch2, static_cast<i32>(next), mode_.code == CodeSize::bits64);
    });
}

void Emitter::call_go(const Instruction& insn)
{
    const i64 next = block_.insns.back().offset + insn.length();
    const bool direct = insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    const i64 target = direct ? next + insn.operands[0].imm.value.s : 0;
    if (keeps_returns())
        return direct ? call_and_return(target, next) : call_temp_and_return(next);
    if (direct)
        exit_to(target);
    else
        exit_to_temp(branch_size(insn));
}

void Emitter::ret_pop(const Instruction& insn, u16 index, bool flags_live)
{
    const unsigned size = branch_size(insn);
    i64 release = size;
    if (insn.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        release += insn.operands[0].imm.value.u & 0xffff;
    stack_address(kGuestRsp, 0);
    lookup({.size = static_cast<u16>(size), .write = false, .stack = true, .index = index}, flags_live,
           [this, size, index] { load_operand(kScratch2, size, index); });
    advance_stack(release);
}

// To where r15 says.
void Emitter::ret_go()
{
    if (keeps_returns())
        a_.ret();
    else
        exit_to_rip_in_r15(); // zero-extended by its load
}

void Emitter::jmp(const Instruction& insn, u16 index, bool flags_live)
{
    const u16 offset = block_.insns[index].offset;
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
    const u32 not_taken = a_.jcc_forward(condition ^ 1);
    exit_to(target);
    a_.patch(not_taken);
    exit_to(next);
}

} // namespace seamless::cpu
