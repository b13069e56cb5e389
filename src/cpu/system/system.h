// SPDX-License-Identifier: Apache-2.0
// Instructions that C++ executes: one function for each operation of the opcode list, found through a table.
#pragma once

#include "cpu/core.h"
#include "decode/instruction.h"

namespace seamless::cpu {

// next: RIP advances past the instruction. stay: the function has set RIP, or the instruction goes on later
// (REP).
enum class Flow : u8 { next, stay };

using SystemHandler = Result<Flow, Fault> (*)(Core& core, const decode::Instruction& insn);

// Runs the function of `insn.operation`; registers change only if it succeeds.
[[nodiscard]] Result<Flow, Fault> execute_system(Core& core, const decode::Instruction& insn);

#define SYSTEM_OPERATION(name)                                                                               \
    [[nodiscard]] Result<Flow, Fault> name(Core& core, const decode::Instruction& insn)
namespace op {
// flow.cpp
SYSTEM_OPERATION(pause);
SYSTEM_OPERATION(jcxz);
SYSTEM_OPERATION(loop);
SYSTEM_OPERATION(enter);
SYSTEM_OPERATION(far_jmp);
SYSTEM_OPERATION(far_call);
SYSTEM_OPERATION(far_ret);
// interrupt.cpp
SYSTEM_OPERATION(int_n);
SYSTEM_OPERATION(int1);
SYSTEM_OPERATION(int3);
SYSTEM_OPERATION(into);
SYSTEM_OPERATION(iret);
SYSTEM_OPERATION(syscall);
SYSTEM_OPERATION(sysret);
SYSTEM_OPERATION(sysenter);
SYSTEM_OPERATION(sysexit);
// string.cpp
SYSTEM_OPERATION(movs);
SYSTEM_OPERATION(stos);
SYSTEM_OPERATION(lods);
SYSTEM_OPERATION(scas);
SYSTEM_OPERATION(cmps);
SYSTEM_OPERATION(xlat);
SYSTEM_OPERATION(maskmov);
// legacy.cpp
SYSTEM_OPERATION(pusha);
SYSTEM_OPERATION(popa);
SYSTEM_OPERATION(ascii_adjust);
SYSTEM_OPERATION(decimal_adjust);
SYSTEM_OPERATION(aam);
SYSTEM_OPERATION(aad);
SYSTEM_OPERATION(bound);
SYSTEM_OPERATION(arpl);
SYSTEM_OPERATION(salc);
// exchange.cpp
SYSTEM_OPERATION(xchg_r8);
// vector.cpp
SYSTEM_OPERATION(vmaskmov);
SYSTEM_OPERATION(gather);
// io.cpp
SYSTEM_OPERATION(in);
SYSTEM_OPERATION(out);
SYSTEM_OPERATION(ins);
SYSTEM_OPERATION(outs);
// msr.cpp
SYSTEM_OPERATION(rdmsr);
SYSTEM_OPERATION(wrmsr);
SYSTEM_OPERATION(rdtsc);
SYSTEM_OPERATION(rdpid);
SYSTEM_OPERATION(rdpmc);
SYSTEM_OPERATION(rdrand);
// control_register.cpp
SYSTEM_OPERATION(mov_cr);
SYSTEM_OPERATION(mov_dr);
SYSTEM_OPERATION(clts);
SYSTEM_OPERATION(smsw);
SYSTEM_OPERATION(lmsw);
SYSTEM_OPERATION(invlpg);
SYSTEM_OPERATION(invpcid);
SYSTEM_OPERATION(invd);
SYSTEM_OPERATION(wbinvd);
// descriptor.cpp
SYSTEM_OPERATION(lgdt);
SYSTEM_OPERATION(lidt);
SYSTEM_OPERATION(sgdt);
SYSTEM_OPERATION(sidt);
SYSTEM_OPERATION(lldt);
SYSTEM_OPERATION(ltr);
SYSTEM_OPERATION(sldt);
SYSTEM_OPERATION(str);
SYSTEM_OPERATION(lar);
SYSTEM_OPERATION(lsl);
SYSTEM_OPERATION(verr);
SYSTEM_OPERATION(mov_sreg);
SYSTEM_OPERATION(push_sreg);
SYSTEM_OPERATION(pop_sreg);
SYSTEM_OPERATION(load_far_pointer);
SYSTEM_OPERATION(rdsegbase);
SYSTEM_OPERATION(wrsegbase);
SYSTEM_OPERATION(swapgs);
// flags.cpp
SYSTEM_OPERATION(cli);
SYSTEM_OPERATION(sti);
SYSTEM_OPERATION(cld);
SYSTEM_OPERATION(std);
SYSTEM_OPERATION(clac);
SYSTEM_OPERATION(stac);
SYSTEM_OPERATION(pushf);
SYSTEM_OPERATION(popf);
// extended.cpp
SYSTEM_OPERATION(fxsave);
SYSTEM_OPERATION(fxrstor);
SYSTEM_OPERATION(xsave);
SYSTEM_OPERATION(xrstor);
SYSTEM_OPERATION(xgetbv);
SYSTEM_OPERATION(xsetbv);
// intercept.cpp
SYSTEM_OPERATION(cpuid);
SYSTEM_OPERATION(hlt);
SYSTEM_OPERATION(vmcall);
SYSTEM_OPERATION(tdcall);
SYSTEM_OPERATION(monitor);
SYSTEM_OPERATION(mwait);
} // namespace op
#undef SYSTEM_OPERATION

} // namespace seamless::cpu
