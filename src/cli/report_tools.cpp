// SPDX-License-Identifier: Apache-2.0
// Zydis for reports.
#include "cli/report_tools.h"

#include <Zydis/Zydis.h>

namespace seamless::cli {

using vmm::report::Instruction;

namespace {

bool moves(ZydisMnemonic mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_MOV || mnemonic == ZYDIS_MNEMONIC_MOVZX ||
           mnemonic == ZYDIS_MNEMONIC_MOVSX || mnemonic == ZYDIS_MNEMONIC_MOVSXD;
}

// LEA and NOP name memory that they do not touch.
bool touches_memory(const ZydisDisassembledInstruction& d)
{
    if (d.info.mnemonic == ZYDIS_MNEMONIC_LEA || d.info.mnemonic == ZYDIS_MNEMONIC_NOP)
        return false;
    for (unsigned i = 0; i < d.info.operand_count; ++i)
        if (d.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return true;
    return false;
}

} // namespace

Instruction decode_instruction(u64 rip, std::span<const u8> bytes, unsigned bits)
{
    const ZydisMachineMode mode = bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                                  : bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                               : ZYDIS_MACHINE_MODE_REAL_16;
    Instruction out{.rip = rip, .bytes = {bytes.begin(), bytes.end()}, .text = {}};
    ZydisDisassembledInstruction d;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(mode, rip, bytes.data(), bytes.size(), &d)))
        return out;
    out.bytes.resize(d.info.length);
    out.text = d.text;
    out.reads_or_writes_memory = touches_memory(d);
    out.simple_move = out.reads_or_writes_memory && moves(d.info.mnemonic);
    return out;
}

vmm::report::Tools report_tools(const Symbols& symbols)
{
    return {.decode = decode_instruction,
            .symbol = [&symbols](u64 address) { return symbols.at(address); },
            .has_symbols = !symbols.empty()};
}

u64 kaslr_distance(const Symbols& symbols, const trace::VcpuRegisters& registers)
{
    const auto system_call = symbols.address_of("entry_SYSCALL_64");
    return system_call && registers.lstar != 0 ? registers.lstar - *system_call : 0;
}

} // namespace seamless::cli
