// SPDX-License-Identifier: Apache-2.0
// Decodes with Zydis and looks the instruction up in the opcode list.
#include "decode/instruction.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace seamless::decode {
namespace {

struct OpcodeRow {
    Execution execution = Execution::native;
    Operation operation = Operation::none;
};

constexpr auto kOpcodes = [] {
    std::array<OpcodeRow, ZYDIS_MNEMONIC_MAX_VALUE + 1> rows{};
#define OPCODE(mnemonic, execution, operation)                                                               \
    rows[ZYDIS_MNEMONIC_##mnemonic] = {Execution::execution, Operation::operation};
#include "decode/opcodes.inc"
#undef OPCODE
    return rows;
}();

constexpr int none = -1, a = 0, b = 1, c = 2, d = 3;
constexpr IsaFeature kIsaFeatures[] = {
#define ISA_SET(set, leaf, subleaf, reg, bit) {ZYDIS_ISA_SET_##set, leaf, subleaf, reg, bit},
#include "decode/isa_sets.inc"
#undef ISA_SET
};

ZydisDecoder make_decoder(CodeSize size)
{
    constexpr struct {
        ZydisMachineMode mode;
        ZydisStackWidth stack;
    } kModes[] = {
        {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
        {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    };
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, kModes[static_cast<u8>(size)].mode, kModes[static_cast<u8>(size)].stack);
    // CET is not offered: its opcodes are the NOPs they were. MPX likewise.
    ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_FALSE);
    return decoder;
}

const ZydisDecoder& decoder_for(CodeSize size)
{
    static const std::array<ZydisDecoder, 3> decoders = {
        make_decoder(CodeSize::bits16), make_decoder(CodeSize::bits32), make_decoder(CodeSize::bits64)};
    return decoders[static_cast<u8>(size)];
}

bool has_register_of(const Instruction& insn, ZydisRegisterClass wanted)
{
    return std::ranges::any_of(insn.all_operands(), [&](const ZydisDecodedOperand& operand) {
        return operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN &&
               operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
               ZydisRegisterGetClass(operand.reg.value) == wanted;
    });
}

// One mnemonic, several executions: by operand class, by branch distance, or because SSE reuses a string
// mnemonic.
OpcodeRow refine(const Instruction& insn, OpcodeRow row)
{
    switch (insn.z.mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        if (has_register_of(insn, ZYDIS_REGCLASS_CONTROL))
            return {Execution::system, Operation::mov_cr};
        if (has_register_of(insn, ZYDIS_REGCLASS_DEBUG))
            return {Execution::system, Operation::mov_dr};
        if (has_register_of(insn, ZYDIS_REGCLASS_SEGMENT))
            return {Execution::system, Operation::mov_sreg};
        return row;
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP:
        if (has_register_of(insn, ZYDIS_REGCLASS_SEGMENT))
            return {Execution::system,
                    insn.z.mnemonic == ZYDIS_MNEMONIC_PUSH ? Operation::push_sreg : Operation::pop_sreg};
        return row;
    case ZYDIS_MNEMONIC_PAUSE: // with REX.B it is no hint but XCHG with R8, which Zydis 4.0 does not know
        return insn.z.raw.rex.B ? OpcodeRow{Execution::system, Operation::xchg_r8} : row;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_RET:
        if (insn.z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
            return {Execution::system, row.operation == Operation::jmp    ? Operation::far_jmp
                                       : row.operation == Operation::call ? Operation::far_call
                                                                          : Operation::far_ret};
        return row;
    case ZYDIS_MNEMONIC_MOVSD:
    case ZYDIS_MNEMONIC_CMPSD:
        return insn.z.meta.category == ZYDIS_CATEGORY_STRINGOP ? row : OpcodeRow{};
    default:
        break;
    }
    // A vector of addresses is not something a host instruction could be given one pointer for. AVX-512's are
    // not there.
    if (insn.z.meta.isa_set == ZYDIS_ISA_SET_AVX2GATHER)
        return {Execution::system, Operation::gather};
    if (insn.z.meta.category == ZYDIS_CATEGORY_GATHER || insn.z.meta.category == ZYDIS_CATEGORY_SCATTER)
        return {Execution::undefined, Operation::none};
    return row;
}

// Zydis 4.0 takes R13D for a base where SIB says that there is none (mod 0, base 5, address size 32).
void repair_address(Instruction& insn)
{
    const auto& raw = insn.z.raw;
    if (raw.sib.offset == 0 || raw.modrm.mod != 0 || raw.sib.base != 5)
        return;
    for (ZydisDecodedOperand& operand : std::span(insn.operands, insn.z.operand_count))
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
            operand.encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
            operand.mem.base = ZYDIS_REGISTER_NONE;
            operand.mem.disp = {.has_displacement = ZYAN_TRUE, .value = raw.disp.value};
        }
}

bool isa_known(ZydisISASet isa)
{
    static const auto known = [] {
        std::array<bool, ZYDIS_ISA_SET_MAX_VALUE + 1> table{};
        for (const IsaFeature& row : kIsaFeatures)
            table[row.isa] = true;
        return table;
    }();
    return known[isa];
}

} // namespace

const ZydisDecodedOperand* Instruction::memory() const
{
    for (const ZydisDecodedOperand& operand : all_operands())
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
            operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            return &operand;
    return nullptr;
}

unsigned Instruction::memory_size() const
{
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_CLFLUSH: // any byte of the line will do, and nothing behind it is touched
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
        return 1;
    default:
        break;
    }
    const ZydisDecodedOperand* operand = memory();
    return operand ? (operand->size + 7u) / 8u : 0;
}

bool Instruction::memory_written() const
{
    const ZydisDecodedOperand* operand = memory();
    return operand && (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
}

bool Instruction::uses_extended_state() const
{
    if (z.meta.isa_set == ZYDIS_ISA_SET_X87 || z.meta.isa_set == ZYDIS_ISA_SET_FCMOV ||
        z.meta.isa_set == ZYDIS_ISA_SET_SSE3X87)
        return true;
    // No operand tells: CVTTSS2SI from memory, VZEROUPPER; and EMMS.
    if (z.meta.exception_class != ZYDIS_EXCEPTION_CLASS_NONE || z.mnemonic == ZYDIS_MNEMONIC_EMMS)
        return true;
    return std::ranges::any_of(all_operands(), [](const ZydisDecodedOperand& operand) {
        if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER)
            return false;
        switch (ZydisRegisterGetClass(operand.reg.value)) {
        case ZYDIS_REGCLASS_X87:
        case ZYDIS_REGCLASS_MMX:
        case ZYDIS_REGCLASS_XMM:
        case ZYDIS_REGCLASS_YMM:
        case ZYDIS_REGCLASS_ZMM:
        case ZYDIS_REGCLASS_MASK:
            return true;
        default:
            return operand.reg.value == ZYDIS_REGISTER_MXCSR ||
                   operand.reg.value == ZYDIS_REGISTER_X87CONTROL ||
                   operand.reg.value == ZYDIS_REGISTER_X87STATUS ||
                   operand.reg.value == ZYDIS_REGISTER_X87TAG;
        }
    });
}

DecodeStatus decode(std::span<const u8> bytes, CodeSize size, Instruction& out)
{
    const ZyanStatus status =
        ZydisDecoderDecodeFull(&decoder_for(size), bytes.data(), bytes.size(), &out.z, out.operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return DecodeStatus::truncated;
    if (!ZYAN_SUCCESS(status))
        return DecodeStatus::invalid;
    std::memcpy(out.bytes, bytes.data(), out.z.length);
    repair_address(out);
    OpcodeRow row = refine(out, kOpcodes[out.z.mnemonic]);
    if (!isa_known(out.z.meta.isa_set))
        row = {Execution::undefined, Operation::none};
    out.execution = row.execution;
    out.operation = row.operation;
    return DecodeStatus::ok;
}

std::span<const IsaFeature> isa_features() { return kIsaFeatures; }

} // namespace seamless::decode
