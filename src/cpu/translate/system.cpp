// SPDX-License-Identifier: Apache-2.0
// Instructions that C++ executes: how a block calls it, and which of them need no call.
#include "cpu/translate/emitter.h"
#include "cpu/translate/in_block.h"

namespace seamless::cpu {
namespace {

using decode::CodeSize;
using decode::Instruction;
using decode::Operation;
namespace rf = spec::rflags;

constexpr i32 kFlags = FRAME(state) + static_cast<i32>(offsetof(CpuState, rflags));

} // namespace

bool Emitter::emit_system(const Instruction& insn, u16 index)
{
    // Between STI and what it shadows there is no poll.
    const bool shadows_another = insn.operation == Operation::sti && index + 1u == insns_.size();
    const bool goes_on = options_.calls && goes_on_behind(insn) && !shadows_another;
    const SystemCall& call = add_call(insn, index);
    if (!goes_on)
        block_.system = &call.insn;
    if (!options_.calls) {
        set_rip(call.offset);
        exit_with(ExitCode::system);
        return false;
    }
    if (goes_on)
        call_system(call, stubs_.system);
    else if (const CrossingKind* crossing = crosses(insn) ? crossing_of(insn) : nullptr)
        cross(call, stubs_.crossings[static_cast<unsigned>(*crossing)]);
    else
        call_system(call, stubs_.last);
    return goes_on;
}

const SystemCall& Emitter::add_call(const Instruction& insn, u16 index)
{
    const bool shadowed = index > 0 && block_.insns[index - 1u].sti;
    block_.calls.push_back(std::make_unique<SystemCall>(
        SystemCall{&block_, insn, index, block_.insns[index].offset, stirs(insn), shadowed}));
    block_.insns[index].sti = insn.operation == Operation::sti;
    return *block_.calls.back();
}

void Emitter::call_system(const SystemCall& call, u64 stub)
{
    a_.mov_imm(kScratch, reinterpret_cast<u64>(&call));
    a_.call(stub);
}

// Where the privilege level does not refuse it.
bool Emitter::crosses(const Instruction& insn) const
{
    return options_.inline_system && options_.jump_cache && mode_.code == CodeSize::bits64 &&
           (mode_.cpl == 0 || insn.operation == Operation::syscall);
}

void Emitter::cross(const SystemCall& call, u64 stub)
{
    rip_to_r15(call.offset + call.insn.length());
    call_system(call, stub);
}

bool Emitter::inline_system(const Instruction& insn, u16 index, bool flags_live)
{
    if (!options_.inline_system || mode_.code != CodeSize::bits64)
        return false;
    if (insn.operation == Operation::rdtsc)
        return rdtsc(insn, index);
    if (mode_.cpl != 0)
        return false;
    switch (insn.operation) {
    case Operation::swapgs:
        swapgs();
        return true;
    case Operation::cli:
        write_flag(rf::IF, FRAME(all_but_if), false, flags_live);
        return true;
    case Operation::sti:
        if (index + 1u == insns_.size()) // see emit_system()
            return false;
        sti(insn, index, flags_live);
        return true;
    case Operation::cld:
    case Operation::std:
        write_flag(rf::DF, FRAME(all_but_df), insn.operation == Operation::std, flags_live);
        return true;
    case Operation::pushf:
        if (insn.z.operand_width != 64)
            return false;
        pushf(index);
        return true;
    default:
        return false;
    }
}

// C++ looks for interrupts, unless that was done and nothing has happened since.
void Emitter::sti(const Instruction& insn, u16 index, bool flags_live)
{
    const SystemCall& call = add_call(insn, index);
    a_.mov(kScratch2, Host::rcx);
    a_.load(Host::rcx, FRAME(stirred));
    const u32 calm = a_.jrcxz_forward();
    const u32 stirred = a_.jmp_forward();
    a_.land(calm);
    a_.mov(Host::rcx, kScratch2);
    a_.load(kScratch, kFlags);
    a_.store(FRAME(before_sti), kScratch);
    write_flag(rf::IF, FRAME(all_but_if), true, flags_live);
    const u32 on = a_.offset();
    out_of_line_.push_back([this, &call, stirred, on] {
        a_.patch(stirred);
        a_.mov(Host::rcx, kScratch2);
        call_system(call, stubs_.system);
        a_.jmp(a_.address_of(on));
    });
}

// EDX:EAX := what the line says. Returns the jump that is taken beyond its end. Uses rcx, keeps the flags.
u32 Emitter::time_on_line()
{
    a_.rdtsc();
    a_.rorx(Host::rdx, Host::rdx, 32);
    a_.lea(Host::rdx, Host::rdx, Host::rax, 1, 0);
    a_.load(Host::rcx, FRAME(tsc.minus_from));
    a_.lea(Host::rdx, Host::rdx, Host::rcx, 1, 0);
    a_.pext_gs(Host::rcx, Host::rdx, FRAME(beyond_line));
    const u32 covered = a_.jrcxz_forward();
    const u32 beyond = a_.jmp_forward();
    a_.land(covered);
    a_.mulx_gs(Host::rcx, Host::rax, FRAME(tsc.rate)); // less than bit(58), and whole ticks in 26 bits
    a_.rorx(Host::rax, Host::rax, base::TscLine::kRateLog2);
    a_.mov32(Host::rax, Host::rax);
    a_.load(Host::rcx, FRAME(tsc.base));
    a_.lea(Host::rax, Host::rax, Host::rcx, 1, 0);
    a_.rorx(Host::rdx, Host::rax, 32);
    a_.mov32(Host::rdx, Host::rdx);
    a_.mov32(Host::rax, Host::rax);
    return beyond;
}

// C++ looks whether the guest may, and for the line that the time is on; then this does, up to the line's
// end.
bool Emitter::rdtsc(const Instruction& insn, u16 index)
{
    constexpr i32 kAux = FRAME(state) + static_cast<i32>(offsetof(CpuState, tsc_aux));
    const bool with_aux = insn.z.mnemonic == ZYDIS_MNEMONIC_RDTSCP;
    const SystemCall& call = add_call(insn, index);
    a_.mov(kScratch2, Host::rcx);
    a_.load(Host::rcx, FRAME(tsc.closed));
    const u32 open = a_.jrcxz_forward();
    const u32 closed = a_.jmp_forward();
    a_.land(open);
    if (with_aux)
        a_.lfence();
    const u32 beyond = time_on_line();
    if (with_aux)
        a_.load32(Host::rcx, kAux);
    else
        a_.mov(Host::rcx, kScratch2);
    const u32 on = a_.offset();
    out_of_line_.push_back([this, &call, closed, beyond, on] {
        a_.patch(closed);
        a_.patch(beyond);
        a_.mov(Host::rcx, kScratch2);
        call_system(call, stubs_.system);
        a_.jmp(a_.address_of(on));
    });
    return true;
}

void Emitter::pushf(u16 index)
{
    push_value(8, index, true, [this] {
        constexpr u8 kAnd = 4, kOrFrom = 0x0b;
        a_.store(FRAME(spill), Host::rax);
        a_.store(FRAME(spill) + 8, Host::rcx);
        a_.flags_to_rax();
        a_.load(kScratch2, kFlags);
        a_.ri(true, kAnd, kScratch2, static_cast<u32>(~(rf::kArithmetic | rf::VM | rf::RF)));
        a_.rr(true, kOrFrom, kScratch2, Host::rax);
        a_.flags_from_rax();
        a_.load(Host::rax, FRAME(spill));
        a_.load(Host::rcx, FRAME(spill) + 8);
    });
}

// One of RFLAGS that is not in the host's. `all_but`: where the frame has its complement.
void Emitter::write_flag(u64 flag, i32 all_but, bool set, bool flags_live)
{
    constexpr u8 kOr = 1, kAnd = 4;
    if (!flags_live)
        return a_.gs_imm(set ? kOr : kAnd, kFlags, static_cast<u32>(set ? flag : ~flag));
    a_.load(kScratch, kFlags);
    a_.pext_gs(kScratch, kScratch, all_but);
    a_.pdep_gs(kScratch, kScratch, all_but);
    if (set)
        a_.lea(kScratch, kScratch, static_cast<i32>(flag));
    a_.store(kFlags, kScratch);
}

void Emitter::swapgs()
{
    constexpr i32 kBase =
        FRAME(state) + static_cast<i32>(offsetof(CpuState, seg) +
                                        static_cast<unsigned>(spec::Seg::gs) * sizeof(spec::Segment) +
                                        offsetof(spec::Segment, base));
    constexpr i32 kOther = FRAME(state) + static_cast<i32>(offsetof(CpuState, kernel_gs_base));
    a_.load(kScratch, kBase);
    a_.load(kScratch2, kOther);
    a_.store(kBase, kScratch2);
    a_.store(kOther, kScratch);
}

} // namespace seamless::cpu
