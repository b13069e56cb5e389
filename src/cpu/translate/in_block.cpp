// SPDX-License-Identifier: Apache-2.0
// The table of instructions behind which a block goes on.
#include "cpu/translate/in_block.h"

#include <array>

namespace seamless::cpu {
namespace {

using decode::Operation;

constexpr Operation kGoOn[] = {
    Operation::movs,  Operation::stos,  Operation::lods,   Operation::scas,      Operation::cmps,
    Operation::xlat,  Operation::cli,   Operation::cld,    Operation::std,       Operation::pushf,
    Operation::rdtsc, Operation::rdpid, Operation::rdrand, Operation::rdsegbase, Operation::wrsegbase,
    Operation::pause, Operation::verr,  Operation::swapgs, Operation::xgetbv,    Operation::sti,
};

constexpr Operation kReadOrWriteFlags[] = {Operation::scas, Operation::cmps, Operation::pushf,
                                           Operation::rdrand, Operation::verr};

using Table = std::array<bool, static_cast<std::size_t>(Operation::kCount)>;

constexpr Table table_of(std::span<const Operation> operations)
{
    Table table{};
    for (const Operation operation : operations)
        table[static_cast<std::size_t>(operation)] = true;
    return table;
}

constexpr Table kGoesOn = table_of(kGoOn);
constexpr Table kFlags = table_of(kReadOrWriteFlags);

bool reads_control_or_segment(const decode::Instruction& insn)
{
    const auto of = ZydisRegisterGetClass(insn.operands[1].reg.value);
    return insn.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
           (of == ZYDIS_REGCLASS_CONTROL || of == ZYDIS_REGCLASS_SEGMENT);
}

} // namespace

bool goes_on_behind(const decode::Instruction& insn)
{
    if (insn.execution != decode::Execution::system)
        return false;
    if (insn.operation == Operation::mov_cr || insn.operation == Operation::mov_sreg)
        return reads_control_or_segment(insn);
    return kGoesOn[static_cast<std::size_t>(insn.operation)];
}

bool leaves_arithmetic_flags(const decode::Instruction& insn)
{
    return goes_on_behind(insn) && !kFlags[static_cast<std::size_t>(insn.operation)];
}

} // namespace seamless::cpu
