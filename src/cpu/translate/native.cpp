// SPDX-License-Identifier: Apache-2.0
// Native instructions: the guest's own operation on host registers and a host pointer.
#include <algorithm>
#include <array>

#include "cpu/translate/emitter.h"
#include "cpu/translate/reencode.h"

namespace seamless::cpu {
namespace {

using decode::Instruction;

// Which host registers an instruction's operands take, and what to do around it so that they hold the
// guest's.
struct Plan {
    RegisterChoice choice;
    struct Loan {
        unsigned guest;
        Host host;
        bool written;
    };
    std::array<Loan, 4> loans{};
    unsigned loan_count = 0;
    std::optional<Host> spilled;
    std::optional<Host> swap_a; // exchanged around the instruction, for want of a REX prefix
    std::optional<Host> swap_b;
    bool identical = true; // every operand is where the guest has it
};

class Planner {
  public:
    Planner(const Instruction& insn, bool memory) : insn_(insn), memory_(memory)
    {
        for (const ZydisDecodedOperand& operand : insn.all_operands())
            if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && is_general(operand.reg.value))
                used_[static_cast<unsigned>(host_of(guest_number(operand.reg.value)))] = true;
        used_[static_cast<unsigned>(Host::rsp)] = used_[static_cast<unsigned>(Host::r14)] =
            used_[static_cast<unsigned>(Host::r15)] = true;
    }

    Plan run(std::optional<Host> forced_reg)
    {
        if (memory_) {
            plan_.choice.memory = kScratch;
            plan_.identical = false;
        }
        for (const ZydisDecodedOperand& operand : insn_.all_operands())
            if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && is_general(operand.reg.value) &&
                !is_high_byte(operand.reg.value))
                place(operand, forced_reg);
        if (needs_legacy_registers(insn_, plan_.choice))
            swap();
        return plan_;
    }

  private:
    void place(const ZydisDecodedOperand& operand, std::optional<Host> forced_reg)
    {
        std::optional<Host>* choice = nullptr;
        switch (operand.encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG:
            choice = &plan_.choice.reg;
            break;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM:
            choice = &plan_.choice.rm;
            break;
        case ZYDIS_OPERAND_ENCODING_OPCODE:
            choice = &plan_.choice.opcode;
            break;
        case ZYDIS_OPERAND_ENCODING_NDSNDD:
            choice = &plan_.choice.vvvv;
            break;
        default:
            return; // implicit: RAX to RDI, which are where the guest has them
        }
        const unsigned guest = guest_number(operand.reg.value);
        if (forced_reg && choice == &plan_.choice.reg) {
            *choice = *forced_reg;
            plan_.identical = false;
        } else if (in_frame(guest)) {
            *choice = lend(guest, (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0);
            plan_.identical = false;
        } else if (guest == 4) {
            *choice = kGuestRsp;
            plan_.identical = false;
        }
    }

    Host lend(unsigned guest, bool written)
    {
        for (unsigned i = 0; i < plan_.loan_count; ++i)
            if (plan_.loans[i].guest == guest) {
                plan_.loans[i].written |= written;
                return plan_.loans[i].host;
            }
        const Host host = free_register();
        plan_.loans[plan_.loan_count++] = {guest, host, written};
        return host;
    }

    Host free_register()
    {
        if (!r15_lent_) {
            r15_lent_ = true;
            return kScratch2;
        }
        if (!memory_ && !r14_lent_) {
            r14_lent_ = true;
            return kScratch;
        }
        constexpr Host kSpillable[] = {Host::rbx, Host::rsi, Host::rdi, Host::r8, Host::r9};
        const Host* host =
            std::ranges::find_if(kSpillable, [&](Host h) { return !used_[static_cast<unsigned>(h)]; });
        CHECK(host != std::end(kSpillable) && !plan_.spilled); // at most three operands can be lent
        plan_.spilled = *host;
        used_[static_cast<unsigned>(*host)] = true;
        return *host;
    }

    // A high-byte register forbids REX: the one operand in r8 to r15 trades places with a free legacy
    // register.
    void swap()
    {
        constexpr Host kLegacy[] = {Host::rsi, Host::rdi, Host::rbx, Host::rcx, Host::rdx, Host::rax};
        const Host* legacy =
            std::ranges::find_if(kLegacy, [&](Host h) { return !used_[static_cast<unsigned>(h)]; });
        CHECK(legacy != std::end(kLegacy));
        for (std::optional<Host>* choice :
             {&plan_.choice.memory, &plan_.choice.reg, &plan_.choice.rm, &plan_.choice.opcode})
            if (*choice && Assembler::high(**choice)) {
                plan_.swap_a = **choice;
                plan_.swap_b = *legacy;
                *choice = *legacy;
                return;
            }
    }

    const Instruction& insn_;
    bool memory_;
    Plan plan_;
    std::array<bool, 16> used_{};
    bool r14_lent_ = false;
    bool r15_lent_ = false;
};

void emit_planned(Assembler& a, Block& block, const Instruction& insn, const Plan& plan,
                  const HostBytes& bytes, u16 index)
{
    if (plan.spilled)
        a.store(FRAME(spill), *plan.spilled);
    for (unsigned i = 0; i < plan.loan_count; ++i)
        a.load(plan.loans[i].host, guest_slot(plan.loans[i].guest));
    if (plan.swap_a)
        a.xchg(*plan.swap_a, *plan.swap_b);
    NativeRange range{.start = a.offset(), .index = index};
    if (plan.identical && insn.z.machine_mode == ZYDIS_MACHINE_MODE_LONG_64)
        a.bytes({insn.bytes, insn.length()});
    else
        a.bytes({bytes.data.data(), bytes.size});
    range.end = a.offset();
    if (plan.spilled)
        range.spilled = static_cast<i8>(*plan.spilled);
    if (plan.swap_a) {
        range.swapped_a = static_cast<i8>(*plan.swap_a);
        range.swapped_b = static_cast<i8>(*plan.swap_b);
        a.xchg(*plan.swap_a, *plan.swap_b);
    }
    block.native.push_back(range);
    for (unsigned i = 0; i < plan.loan_count; ++i)
        if (plan.loans[i].written)
            a.store(guest_slot(plan.loans[i].guest), plan.loans[i].host);
    if (plan.spilled)
        a.load(*plan.spilled, FRAME(spill));
}

// INC and DEC of 32-bit code in their one-byte form are REX prefixes to the host.
bool one_byte_inc_dec(const Instruction& insn)
{
    return insn.z.machine_mode != ZYDIS_MACHINE_MODE_LONG_64 && insn.z.opcode >= 0x40 &&
           insn.z.opcode <= 0x4f && insn.z.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
}

// Vector accesses that must be aligned. SDM: "Exception Conditions for Legacy SSE, AVX", by exception type.
bool needs_alignment(const Instruction& insn)
{
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_CMPXCHG16B:
    case ZYDIS_MNEMONIC_CVTPD2PI: // Zydis has no exception type for these two
    case ZYDIS_MNEMONIC_CVTTPD2PI:
        return true;
    default:
        break;
    }
    if (insn.memory_size() < 16 || insn.z.meta.isa_set == ZYDIS_ISA_SET_SHA) // SHA: not on AMD
        return false;
    switch (insn.z.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE1:
    case ZYDIS_EXCEPTION_CLASS_AVX1:
    case ZYDIS_EXCEPTION_CLASS_E1:
    case ZYDIS_EXCEPTION_CLASS_E1NF:
        return true;
    case ZYDIS_EXCEPTION_CLASS_SSE2:
    case ZYDIS_EXCEPTION_CLASS_SSE4:
        break;
    default:
        return false;
    }
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return false;
    default:
        return true;
    }
}

bool locked(const Instruction& insn)
{
    return insn.has(ZYDIS_ATTRIB_HAS_LOCK) || (insn.z.mnemonic == ZYDIS_MNEMONIC_XCHG && insn.memory());
}

// Instructions that report a pending x87 exception before they do anything else.
bool waits_for_x87(const Instruction& insn)
{
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FNSTSW:
        return false;
    default:
        break;
    }
    if (insn.z.meta.isa_set == ZYDIS_ISA_SET_X87)
        return true;
    return std::ranges::any_of(insn.all_operands(), [](const ZydisDecodedOperand& operand) {
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER)
            return false;
        const auto file = ZydisRegisterGetClass(operand.reg.value);
        return file == ZYDIS_REGCLASS_MMX || file == ZYDIS_REGCLASS_X87;
    });
}

// Whether the instruction loads, and leaves r15 to be the index of its memory operand.
bool splits(const Instruction& insn, const Plan& plan)
{
    return !insn.memory_written() && plan.loan_count == 0 && !plan.spilled && !plan.swap_a &&
           insn.z.encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX;
}

} // namespace

bool is_bit_string(const Instruction& insn)
{
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return insn.memory() && insn.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    default:
        return false;
    }
}

void Emitter::native(const Instruction& insn, u16 index, bool flags_live)
{
    const ZydisDecodedOperand* memory = insn.memory();
    if (memory && !insn.has(ZYDIS_ATTRIB_HAS_MODRM))
        return native_moffs(insn, index, flags_live);
    if (is_bit_string(insn))
        return native_bits(insn, index, flags_live);
    if (one_byte_inc_dec(insn)) {
        const Host reg = host_of(insn.z.opcode & 7);
        if (insn.z.operand_width == 16)
            a_.byte(0x66);
        if (Assembler::high(reg))
            a_.byte(0x41);
        a_.byte(0xff);
        a_.byte(static_cast<u8>(0xc0 | (insn.z.opcode & 8) | Assembler::low(reg)));
        return;
    }
    Plan plan = Planner(insn, memory != nullptr).run(std::nullopt);
    const Emit op = [this, &insn, plan, index]() mutable {
        plan.choice.disp = pointer_disp_;
        plan.choice.index = pointer_split_ ? std::optional(kScratch2) : std::nullopt;
        emit_planned(a_, block_, insn, plan, reencode(insn, plan.choice), index);
    };
    if (!memory)
        return op();
    address(*memory);
    lookup({.size = static_cast<u16>(insn.memory_size()),
            .write = insn.memory_written(),
            .stack = memory->mem.segment == ZYDIS_REGISTER_SS,
            .aligned = needs_alignment(insn),
            .x87 = waits_for_x87(insn),
            .locked = locked(insn),
            .index = index},
           flags_live, op, splits(insn, plan));
}

// MOV between the accumulator and an absolute address.
void Emitter::native_moffs(const Instruction& insn, u16 index, bool flags_live)
{
    const ZydisDecodedOperand* memory = insn.memory();
    const unsigned size = insn.memory_size();
    const bool store = insn.memory_written();
    address(*memory);
    lookup({.size = static_cast<u16>(size), .write = store, .stack = false, .index = index}, flags_live,
           [this, size, store, index] {
               if (store)
                   return store_operand(Host::rax, size, index);
               load_operand(kScratch2, size, index);
               a_.mov_sized(Host::rax, kScratch2, size);
           });
}

// BT and its kin with a register: the bit offset moves the address, and only its low bits stay in the
// register.
void Emitter::native_bits(const Instruction& insn, u16 index, bool flags_live)
{
    const ZydisDecodedOperand* memory = insn.memory();
    const unsigned width = insn.z.operand_width;
    const ZydisRegister reg = insn.operands[1].reg.value;
    const u8 log2 = static_cast<u8>(std::countr_zero(width));
    constexpr u8 kShl = 4, kSar = 7, kAnd = 4;
    address(*memory);
    a_.pushfq();
    read_guest(kScratch2, reg);
    a_.shift(true, kShl, kScratch2, static_cast<u8>(64 - width));
    a_.shift(true, kSar, kScratch2, static_cast<u8>(64 - width + log2));
    a_.lea(kScratch, kScratch, kScratch2, static_cast<u8>(width / 8), 0,
           mode_.code == decode::CodeSize::bits64);
    a_.popfq();
    const Plan plan = Planner(insn, true).run(kScratch2);
    const HostBytes bytes = reencode(insn, plan.choice);
    const Emit op = [this, &insn, plan, bytes, index, reg, width] {
        a_.pushfq();
        read_guest(kScratch2, reg);
        a_.ri(false, kAnd, kScratch2, width - 1);
        a_.popfq();
        emit_planned(a_, block_, insn, plan, bytes, index);
    };
    lookup({.size = static_cast<u16>(width / 8),
            .write = insn.memory_written(),
            .stack = false,
            .locked = locked(insn),
            .index = index},
           flags_live, op);
}

} // namespace seamless::cpu
