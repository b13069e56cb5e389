// SPDX-License-Identifier: Apache-2.0
// Which instructions make a stretch. Nothing in it may change the registers of its addresses (but for what
// the stack pointer moves by), nor need the register that holds the host pointer (Emitter: kScratch).
#include "cpu/translate/stretch.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "cpu/translate/emitter.h"

namespace seamless::cpu {
namespace {

using decode::Execution;
using decode::Instruction;
using decode::Operation;

constexpr i64 kMostBytes = 256; // the more, the likelier is a stretch to leave its page

constexpr AddressForm kStack{.base = ZYDIS_REGISTER_RSP};

struct MemoryAccess {
    AddressForm form;
    i64 displacement = 0;
    unsigned size = 0;
    bool write = false;
};

bool is_register(const ZydisDecodedOperand& operand) { return operand.type == ZYDIS_OPERAND_TYPE_REGISTER; }
bool is_immediate(const ZydisDecodedOperand& operand) { return operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }

// What PUSH, POP, CALL and RET do at the stack pointer.
std::optional<MemoryAccess> stack_access(const Instruction& insn, i64 stack)
{
    constexpr unsigned kSize = 8;
    const bool simple = is_register(insn.operands[0]) || is_immediate(insn.operands[0]);
    const MemoryAccess pushed{kStack, stack - kSize, kSize, true}, popped{kStack, stack, kSize, false};
    switch (insn.operation) {
    case Operation::push:
        return simple && insn.z.operand_width == 64 ? std::optional(pushed) : std::nullopt;
    case Operation::call:
        return simple ? std::optional(pushed) : std::nullopt;
    case Operation::pop:
        return simple && insn.z.operand_width == 64 ? std::optional(popped) : std::nullopt;
    case Operation::ret:
        return popped;
    default:
        return {};
    }
}

// `stack`: what the stretch has moved RSP by so far.
std::optional<MemoryAccess> access_of(const Instruction& insn, u64 offset, i64 stack)
{
    if (insn.execution == Execution::control)
        return stack_access(insn, stack);
    const ZydisDecodedOperand* memory = insn.execution == Execution::native ? insn.memory() : nullptr;
    if (!memory || !insn.has(ZYDIS_ATTRIB_HAS_MODRM) || is_bit_string(insn) || insn.z.address_width != 64)
        return {};
    const auto& mem = memory->mem;
    const bool based = mem.segment == ZYDIS_REGISTER_FS || mem.segment == ZYDIS_REGISTER_GS;
    MemoryAccess access{.form = {.base = mem.base,
                                 .index = mem.index,
                                 .scale = mem.index == ZYDIS_REGISTER_NONE ? u8{0} : mem.scale,
                                 .segment = based ? mem.segment : ZYDIS_REGISTER_NONE},
                        .displacement = mem.disp.has_displacement ? mem.disp.value : 0,
                        .size = insn.memory_size(),
                        .write = insn.memory_written()};
    if (mem.base == ZYDIS_REGISTER_RSP)
        access.displacement += stack;
    if (mem.base == ZYDIS_REGISTER_RIP)
        access.displacement += static_cast<i64>(offset + insn.length());
    const bool fits = static_cast<i32>(access.displacement) == access.displacement;
    return access.size != 0 && access.size <= 64 && fits ? std::optional(access) : std::nullopt;
}

// How many guest registers that live in the frame an instruction names.
unsigned frame_registers(const Instruction& insn)
{
    u32 named = 0;
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (is_register(operand) && is_general(operand.reg.value) &&
            in_frame(guest_number(operand.reg.value)))
            named |= 1u << guest_number(operand.reg.value);
    return static_cast<unsigned>(std::popcount(named));
}

// Neither accesses memory nor needs kScratch.
bool passive(const Instruction& insn)
{
    if (insn.execution == Execution::silent)
        return true;
    if (insn.execution == Execution::native)
        return !insn.memory() && frame_registers(insn) < 2;
    return insn.execution == Execution::control && insn.operation == Operation::lea &&
           insn.z.operand_width != 16 && !lea_needs_scratch(insn);
}

// How far an instruction that is no stack access moves RSP, if that is known.
std::optional<i64> stack_move(const Instruction& insn)
{
    const auto rsp = [](const ZydisDecodedOperand& operand) {
        return is_register(operand) && operand.reg.value == ZYDIS_REGISTER_RSP;
    };
    if (!rsp(insn.operands[0]))
        return {};
    const i64 immediate = is_immediate(insn.operands[1]) ? insn.operands[1].imm.value.s : 0;
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_ADD && is_immediate(insn.operands[1]))
        return immediate;
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_SUB && is_immediate(insn.operands[1]))
        return -immediate;
    const auto& mem = insn.operands[1].mem;
    if (insn.operation == Operation::lea && mem.base == ZYDIS_REGISTER_RSP &&
        mem.index == ZYDIS_REGISTER_NONE && insn.z.address_width == 64)
        return mem.disp.has_displacement ? mem.disp.value : 0;
    return {};
}

bool writes(const Instruction& insn, ZydisRegister r)
{
    if (r == ZYDIS_REGISTER_NONE || r == ZYDIS_REGISTER_RIP)
        return false;
    return std::ranges::any_of(insn.all_operands(), [&](const ZydisDecodedOperand& operand) {
        return is_register(operand) && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
               is_general(operand.reg.value) && guest_number(operand.reg.value) == guest_number(r);
    });
}

class Finder {
  public:
    Finder(std::span<const Instruction> insns, u64 offset) : insns_(insns)
    {
        for (const Instruction& insn : insns) {
            offsets_.push_back(offset);
            offset += insn.length();
        }
    }

    std::vector<Stretch> run()
    {
        std::vector<Stretch> found;
        for (std::size_t i = 0; i + 1 < insns_.size(); ++i)
            if (std::optional<Stretch> stretch = from(i)) {
                i = stretch->last;
                found.push_back(std::move(*stretch));
            }
        return found;
    }

  private:
    // The longest stretch from instruction `first` on, if it has two accesses.
    std::optional<Stretch> from(std::size_t first)
    {
        const auto start = access_of(insns_[first], offsets_[first], 0);
        if (!start)
            return {};
        Stretch s{.form = start->form, .first = static_cast<u16>(first)};
        low_ = high_ = start->displacement;
        stack_ = 0;
        unsigned accesses = 0;
        std::vector<i64> at;
        for (std::size_t i = first; i < insns_.size(); ++i) {
            const auto access = access_of(insns_[i], offsets_[i], stack_);
            if (access ? !take(s, *access) : !passive(insns_[i]))
                break;
            at.push_back(access ? access->displacement : 0);
            if (access) {
                ++accesses;
                s.last = static_cast<u16>(i);
            }
            if (!goes_on_behind(s.form, insns_[i], access.has_value()))
                break;
        }
        if (accesses < 2)
            return {};
        s.lowest = static_cast<i32>(low_);
        s.bytes = static_cast<u16>(high_ - low_);
        for (const i64 displacement : at)
            s.at.push_back(static_cast<i32>(displacement - low_));
        return s;
    }

    // Whether the access still lies close enough.
    bool take(Stretch& s, const MemoryAccess& access)
    {
        const i64 low = std::min(low_, access.displacement);
        const i64 high = std::max(high_, access.displacement + access.size);
        if (access.form != s.form || high - low > kMostBytes)
            return false;
        low_ = low;
        high_ = high;
        s.write |= access.write;
        return true;
    }

    // Whether the addresses are still known behind the instruction.
    bool goes_on_behind(const AddressForm& form, const Instruction& insn, bool access)
    {
        if (insn.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
            return false;
        if (writes(insn, form.index))
            return false;
        if (form.base != ZYDIS_REGISTER_RSP)
            return !writes(insn, form.base);
        if (access && insn.execution == Execution::control) {
            const bool push = insn.operation == Operation::push;
            stack_ += push ? -8 : 8;
            return push || insn.operands[0].reg.value != ZYDIS_REGISTER_RSP;
        }
        if (!writes(insn, ZYDIS_REGISTER_RSP))
            return true;
        const std::optional<i64> move = stack_move(insn);
        stack_ += move.value_or(0);
        return move.has_value();
    }

    std::span<const Instruction> insns_;
    std::vector<u64> offsets_;
    i64 low_ = 0, high_ = 0;
    i64 stack_ = 0;
};

} // namespace

std::vector<Stretch> find_stretches(std::span<const Instruction> insns, u64 offset)
{
    return Finder(insns, offset).run();
}

} // namespace seamless::cpu
