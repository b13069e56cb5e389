// SPDX-License-Identifier: Apache-2.0
// Walks the opcode maps.
#include "diff/forms.h"

#include <algorithm>
#include <array>
#include <map>

#include "cpu/cpuid.h"

namespace seamless::diff {
namespace {

using decode::Execution;
using decode::Instruction;
using decode::Operation;

// Instruction sets that the processor offers. Features it executes in C++ have no oracle and are not native.
bool offered(ZydisISASet isa)
{
    static const auto table = [] {
        std::array<bool, ZYDIS_ISA_SET_MAX_VALUE + 1> t{};
        for (const decode::IsaFeature& row : decode::isa_features()) {
            const cpu::CpuidResult r = cpu::native_cpuid(row.leaf, row.subleaf);
            const u32 regs[] = {r.eax, r.ebx, r.ecx, r.edx};
            t[row.isa] = row.reg < 0 || test(regs[row.reg], row.bit);
        }
        return t;
    }();
    return table[isa];
}

bool system_with_oracle(Operation operation)
{
    switch (operation) {
    case Operation::jcxz:
    case Operation::loop:
    case Operation::enter:
    case Operation::movs:
    case Operation::stos:
    case Operation::lods:
    case Operation::scas:
    case Operation::cmps:
    case Operation::xlat:
    case Operation::maskmov:
    case Operation::cld:
    case Operation::std:
    case Operation::pushf:
    case Operation::popf:
    case Operation::fxsave:
    case Operation::fxrstor:
        return true;
    default:
        return false;
    }
}

bool hidden_memory(const Instruction& insn)
{
    return std::ranges::any_of(insn.all_operands(), [](const ZydisDecodedOperand& operand) {
        return operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
               operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;
    });
}

// The bytes of `form` with plain operands, then zeros.
std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> sample(const Form& form)
{
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    unsigned n = 0;
    const auto put = [&](unsigned byte) { bytes[n++] = static_cast<u8>(byte); };
    const unsigned pp = form.prefix == 0x66 ? 1 : form.prefix == 0xf3 ? 2 : form.prefix == 0xf2 ? 3 : 0;
    if (form.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        put(0xc4);
        put(0xe0u | form.map);
        put((form.wide ? 0x80u : 0) | 0x78u | (form.length ? 4u : 0) | pp);
    } else if (form.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
        put(0x62);
        put(0xf0u | form.map);
        put((form.wide ? 0x80u : 0) | 0x7cu | pp);
        put(static_cast<unsigned>(form.length) << 5 | 8u);
    } else {
        if (form.prefix)
            put(form.prefix);
        if (form.wide)
            put(0x48);
        if (form.map)
            put(0x0f);
        if (form.map >= 2)
            put(form.map == 2 ? 0x38 : 0x3a);
    }
    put(form.opcode);
    put((form.memory ? 0x00u : 0xc0u) | static_cast<unsigned>(form.reg) << 3 | form.rm);
    return bytes;
}

class Walk {
  public:
    void map(ZydisInstructionEncoding encoding, u8 map_number, u8 lengths)
    {
        Form form{.encoding = encoding, .map = map_number};
        for (unsigned opcode = 0; opcode < 256; ++opcode) {
            form.opcode = static_cast<u8>(opcode);
            for (const u8 prefix : {u8{0}, u8{0x66}, u8{0xf3}, u8{0xf2}})
                for (unsigned bits = 0; bits < 2u * lengths; ++bits) {
                    form.prefix = prefix;
                    form.wide = bits & 1;
                    form.length = static_cast<u8>(bits >> 1);
                    row(form);
                }
        }
    }

    std::vector<MnemonicForms> take()
    {
        std::vector<MnemonicForms> list;
        for (auto& [mnemonic, forms] : found_)
            list.push_back({mnemonic, std::move(forms)});
        return list;
    }

  private:
    void row(Form form)
    {
        // x87 and 0F AE have operations in ModRM.rm too.
        const bool by_rm = form.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && form.map == 0 &&
                           form.opcode >= 0xd8 && form.opcode <= 0xdf;
        form.fixed_rm = by_rm;
        for (unsigned reg = 0; reg < 8; ++reg) {
            form.reg = static_cast<u8>(reg);
            form.memory = true;
            form.rm = 6;
            if (!try_form(form))
                return; // no ModRM byte: once is enough
            form.memory = false;
            for (unsigned rm = 0; rm < (by_rm ? 8u : 1u); ++rm) {
                form.rm = static_cast<u8>(rm);
                (void)try_form(form);
            }
        }
    }

    // False if the opcode has no ModRM byte.
    bool try_form(Form form)
    {
        Instruction insn;
        const auto bytes = sample(form);
        if (decode::decode(bytes, decode::CodeSize::bits64, insn) != decode::DecodeStatus::ok)
            return true;
        form.modrm = insn.has(ZYDIS_ATTRIB_HAS_MODRM);
        // A prefix is no opcode, whatever follows it.
        if (insn.z.encoding == form.encoding && insn.z.opcode == form.opcode && has_oracle(insn))
            found_[insn.z.mnemonic].push_back(form);
        return form.modrm;
    }

    std::map<ZydisMnemonic, std::vector<Form>> found_;
};

} // namespace

bool has_oracle(const Instruction& insn)
{
    if (!offered(insn.z.meta.isa_set))
        return false;
    if (insn.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && insn.has(ZYDIS_ATTRIB_HAS_OPERANDSIZE))
        return false; // AMD and Intel disagree on what 66H does to a branch
    // Zydis has PAUSE for F3 REX.B 90, which is XCHG R8, RAX.
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_PAUSE && insn.z.raw.rex.B)
        return false;
    // 0F 0D with a register: a NOP to Intel, #UD to AMD.
    if (insn.z.meta.isa_set == ZYDIS_ISA_SET_PREFETCH_NOP && insn.z.raw.modrm.mod == 3)
        return false;
    switch (insn.execution) {
    case Execution::native:
        return !hidden_memory(insn);
    case Execution::control:
        return true;
    case Execution::silent:
        return insn.z.mnemonic != ZYDIS_MNEMONIC_RDSSPD && insn.z.mnemonic != ZYDIS_MNEMONIC_RDSSPQ;
    case Execution::system:
        return system_with_oracle(insn.operation);
    case Execution::undefined:
        return false;
    }
    return false;
}

std::vector<MnemonicForms> enumerate_forms()
{
    Walk walk;
    for (u8 map = 0; map < 4; ++map)
        walk.map(ZYDIS_INSTRUCTION_ENCODING_LEGACY, map, 1);
    for (u8 map = 1; map < 4; ++map) {
        walk.map(ZYDIS_INSTRUCTION_ENCODING_VEX, map, 2);
        if (offered(ZYDIS_ISA_SET_AVX512F_512))
            walk.map(ZYDIS_INSTRUCTION_ENCODING_EVEX, map, 3);
    }
    return walk.take();
}

} // namespace seamless::diff
