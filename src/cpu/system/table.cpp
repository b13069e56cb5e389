// SPDX-License-Identifier: Apache-2.0
// The table of system operations. An operation without a row raises #UD.
#include <array>

#include "cpu/system/system.h"

namespace seamless::cpu {
namespace {

using decode::Operation;

struct Row {
    Operation operation;
    SystemHandler handler;
};

#define ROW(name)                                                                                            \
    Row { Operation::name, op::name }
constexpr Row kRows[] = {
    ROW(pause),     ROW(jcxz),         ROW(loop),
    ROW(enter),     ROW(far_jmp),      ROW(far_call),
    ROW(far_ret),   ROW(int_n),        ROW(int1),
    ROW(int3),      ROW(into),         ROW(iret),
    ROW(syscall),   ROW(sysret),       ROW(sysenter),
    ROW(sysexit),   ROW(movs),         ROW(stos),
    ROW(lods),      ROW(scas),         ROW(cmps),
    ROW(xlat),      ROW(xchg_r8),      ROW(pusha),
    ROW(popa),      ROW(ascii_adjust), ROW(decimal_adjust),
    ROW(aam),       ROW(aad),          ROW(bound),
    ROW(arpl),      ROW(salc),         ROW(maskmov),
    ROW(vmaskmov),  ROW(gather),       ROW(in),
    ROW(out),       ROW(ins),          ROW(outs),
    ROW(rdmsr),     ROW(wrmsr),        ROW(rdtsc),
    ROW(rdpid),     ROW(rdpmc),        ROW(rdrand),
    ROW(mov_cr),    ROW(mov_dr),       ROW(clts),
    ROW(smsw),      ROW(lmsw),         ROW(invlpg),
    ROW(invpcid),   ROW(invd),         ROW(wbinvd),
    ROW(lgdt),      ROW(lidt),         ROW(sgdt),
    ROW(sidt),      ROW(lldt),         ROW(ltr),
    ROW(sldt),      ROW(str),          ROW(lar),
    ROW(lsl),       ROW(verr),         ROW(mov_sreg),
    ROW(push_sreg), ROW(pop_sreg),     ROW(load_far_pointer),
    ROW(rdsegbase), ROW(wrsegbase),    ROW(swapgs),
    ROW(cli),       ROW(sti),          ROW(cld),
    ROW(std),       ROW(clac),         ROW(stac),
    ROW(pushf),     ROW(popf),         ROW(fxsave),
    ROW(fxrstor),   ROW(xsave),        ROW(xrstor),
    ROW(xgetbv),    ROW(xsetbv),       ROW(cpuid),
    ROW(hlt),       ROW(vmcall),       ROW(tdcall),
    ROW(monitor),   ROW(mwait),
};
#undef ROW

constexpr auto kHandlers = [] {
    std::array<SystemHandler, static_cast<std::size_t>(Operation::kCount)> table{};
    for (const Row& row : kRows)
        table[static_cast<std::size_t>(row.operation)] = row.handler;
    return table;
}();

} // namespace

Result<Flow, Fault> execute_system(Core& core, const decode::Instruction& insn)
{
    const SystemHandler handler = kHandlers[static_cast<std::size_t>(insn.operation)];
    if (!handler)
        return fail(core.ud());
    return handler(core, insn);
}

} // namespace seamless::cpu
