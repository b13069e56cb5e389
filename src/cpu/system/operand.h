// SPDX-License-Identifier: Apache-2.0
// Operands of instructions that C++ executes: registers by name, effective addresses, memory.
#pragma once

#include "cpu/core.h"
#include "decode/instruction.h"

namespace seamless::cpu {

// A general register of any width, zero-extended; and writing one by the rules of its width.
[[nodiscard]] u64 read_register(const CpuState& state, ZydisRegister r);
void write_register(CpuState& state, ZydisRegister r, u64 value);

[[nodiscard]] spec::Seg segment_of(ZydisRegister r);

// The linear address of a memory operand.
[[nodiscard]] Gva linear_address(Core& core, const decode::Instruction& insn,
                                 const ZydisDecodedOperand& operand);
// The linear address of `offset` in segment `seg`, at the code's width.
[[nodiscard]] Gva linear_address(const CpuState& state, spec::Seg seg, u64 offset);
[[nodiscard]] Purpose purpose_of(const ZydisDecodedOperand& operand);

// A register, immediate or memory operand of 1 to 8 bytes.
[[nodiscard]] Result<u64, Fault> read_operand(Core& core, const decode::Instruction& insn,
                                              const ZydisDecodedOperand& operand);
[[nodiscard]] Result<void, Fault> write_operand(Core& core, const decode::Instruction& insn,
                                                const ZydisDecodedOperand& operand, u64 value);

// Pushes and pops move RSP only on success of each one; `size` is 2, 4 or 8.
[[nodiscard]] Result<void, Fault> push(Core& core, u64 value, unsigned size);
// The value `index` elements above the stack pointer.
[[nodiscard]] Result<u64, Fault> peek(Core& core, unsigned index, unsigned size);
void release(Core& core, u64 bytes);

// A return to an outer ring (far RET, IRET): takes RSP and SS from `offset` bytes above the stack pointer,
// changes the CPL to that of `cs` and clears the data segments that it may not use. RIP and CS are the
// caller's to set.
[[nodiscard]] Result<void, Fault> return_to_outer(Core& core, const spec::Segment& cs, u64 offset,
                                                  unsigned size);

[[nodiscard]] inline bool user_mode(const Core& core) { return const_cast<Core&>(core).state().cpl() != 0; }

} // namespace seamless::cpu
