// SPDX-License-Identifier: Apache-2.0
// Exchanges that the decoder cannot give to the translator.
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;

// F3 REX.B 90: XCHG of the accumulator and R8. 32-bit operands clear the upper halves.
Result<Flow, Fault> xchg_r8(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const bool wide = insn.z.raw.rex.W;
    const ZydisRegister a = wide                                     ? ZYDIS_REGISTER_RAX
                            : insn.has(ZYDIS_ATTRIB_HAS_OPERANDSIZE) ? ZYDIS_REGISTER_AX
                                                                     : ZYDIS_REGISTER_EAX;
    const ZydisRegister b = wide                     ? ZYDIS_REGISTER_R8
                            : a == ZYDIS_REGISTER_AX ? ZYDIS_REGISTER_R8W
                                                     : ZYDIS_REGISTER_R8D;
    const u64 value = read_register(s, a);
    write_register(s, a, read_register(s, b));
    write_register(s, b, value);
    return Flow::next;
}

} // namespace seamless::cpu::op
