// SPDX-License-Identifier: Apache-2.0
// SDM: "SYSCALL", "SYSRET", "STAC", "CLAC". What can be refused is left to C++, with all registers and flags
// as they were.
#include "cpu/translate/crossing.h"

#include <algorithm>

#include "cpu/translate/assembler.h"
#include "cpu/translate/frame.h"
#include "cpu/translate/in_block.h"

namespace seamless::cpu {
namespace {

using decode::Operation;
namespace rf = spec::rflags;

struct Row {
    Operation operation;
    CrossingKind kind;
};
constexpr Row kRows[] = {
    {Operation::syscall, CrossingKind::syscall},
    {Operation::sysret, CrossingKind::sysret},
    {Operation::stac, CrossingKind::stac},
    {Operation::clac, CrossingKind::clac},
};

constexpr i32 field_of(CrossingKind kind, std::size_t field)
{
    return FRAME(crossings) + static_cast<i32>(static_cast<unsigned>(kind) * sizeof(Crossing) + field);
}
#define CROSSING(kind, member) field_of(CrossingKind::kind, offsetof(Crossing, member))

constexpr i32 kFlags = FRAME(state) + static_cast<i32>(offsetof(CpuState, rflags));

void copy_segment(Assembler& a, i32 from, spec::Seg to)
{
    const i32 segment = FRAME(state) + static_cast<i32>(offsetof(CpuState, seg) +
                                                        static_cast<unsigned>(to) * sizeof(spec::Segment));
    static_assert(sizeof(spec::Segment) % 8 == 0);
    for (i32 at = 0; at < static_cast<i32>(sizeof(spec::Segment)); at += 8) {
        a.load(Host::r14, from + at);
        a.store(segment + at, Host::r14);
    }
}

// Returns of the mode that is left are forgotten.
void forget_returns(Assembler& a, CrossingKind kind)
{
    a.load(Host::rsp, FRAME(return_base));
    a.load(Host::r14, field_of(kind, offsetof(Crossing, sentinel)));
    a.store(FRAME(return_sentinel), Host::r14);
    a.store_to(Host::rsp, Host::r14, 8);
}

void go(Assembler& a, CrossingKind kind) { a.jmp_gs(field_of(kind, offsetof(Crossing, target))); }

// With RFLAGS as it will be in rax, whose value is spilled; uses rcx.
void change_mode(Assembler& a, CrossingKind kind)
{
    a.store(kFlags, Host::rax);
    a.flags_from_rax();
    copy_segment(a, field_of(kind, offsetof(Crossing, cs)), spec::Seg::cs);
    copy_segment(a, field_of(kind, offsetof(Crossing, ss)), spec::Seg::ss);
    forget_returns(a, kind);
    a.load(Host::rax, FRAME(spill));
}

void emit_syscall(Assembler& a, u64 last)
{
    constexpr u8 kAnd = 4, kOr = 1, kAndFrom = 0x23, kOrFrom = 0x0b;
    a.store(FRAME(spill), Host::rcx);
    a.load(Host::rcx, CROSSING(syscall, closed));
    const u32 open = a.jrcxz_forward();
    a.load(Host::rcx, FRAME(spill));
    a.jmp(last);
    a.land(open);
    a.store(FRAME(spill), Host::rax);
    a.flags_to_rax();
    a.load(Host::r11, kFlags);
    a.ri(true, kAnd, Host::r11, static_cast<u32>(~(rf::kArithmetic | rf::RF)));
    a.rr(true, kOrFrom, Host::r11, Host::rax);
    a.mov(Host::rax, Host::r11);
    a.gs(true, kAndFrom, Host::rax, CROSSING(syscall, keep));
    a.ri(true, kOr, Host::rax, rf::FIXED1);
    change_mode(a, CrossingKind::syscall);
    a.mov(Host::rcx, Host::r15);
    a.load(Host::r15, CROSSING(syscall, rip));
    go(a, CrossingKind::syscall);
}

// To addresses of the lower half, with flags that mean nothing to the translator.
void emit_sysret(Assembler& a, u64 last)
{
    constexpr u8 kAnd = 4, kOr = 1;
    a.store(FRAME(spill), Host::rcx);
    a.pext_gs(Host::r15, Host::rcx, FRAME(above_lower_half));
    a.pext_gs(Host::rcx, Host::r11, FRAME(unusual_flags));
    a.lea(Host::rcx, Host::rcx, Host::r15, 1, 0);
    a.load(Host::r15, CROSSING(sysret, closed));
    a.lea(Host::rcx, Host::rcx, Host::r15, 1, 0);
    const u32 open = a.jrcxz_forward();
    a.load(Host::rcx, FRAME(spill));
    a.jmp(last);
    a.land(open);
    a.load(Host::r15, FRAME(spill));
    a.store(FRAME(spill), Host::rax);
    a.mov(Host::rax, Host::r11);
    a.ri(false, kAnd, Host::rax, rf::kSysret);
    a.ri(false, kOr, Host::rax, rf::FIXED1);
    change_mode(a, CrossingKind::sysret);
    a.mov(Host::rcx, Host::r15);
    go(a, CrossingKind::sysret);
}

// Keeps the arithmetic flags.
void emit_ac(Assembler& a, u64 last, CrossingKind kind)
{
    a.store(FRAME(spill), Host::rcx);
    a.load(Host::rcx, field_of(kind, offsetof(Crossing, closed)));
    const u32 open = a.jrcxz_forward();
    a.load(Host::rcx, FRAME(spill));
    a.jmp(last);
    a.land(open);
    a.load(Host::rcx, kFlags);
    a.pext_gs(Host::rcx, Host::rcx, FRAME(all_but_ac));
    a.pdep_gs(Host::rcx, Host::rcx, FRAME(all_but_ac));
    if (kind == CrossingKind::stac)
        a.lea(Host::rcx, Host::rcx, static_cast<i32>(rf::AC));
    a.store(kFlags, Host::rcx);
    forget_returns(a, kind);
    a.load(Host::rcx, FRAME(spill));
    go(a, kind);
}

} // namespace

const CrossingKind* crossing_of(const decode::Instruction& insn)
{
    if (insn.operation == Operation::sysret && insn.z.operand_width != 64)
        return nullptr;
    const Row* row = std::ranges::find(kRows, insn.operation, &Row::operation);
    return row == std::end(kRows) ? nullptr : &row->kind;
}

bool stirs(const decode::Instruction& insn)
{
    constexpr Operation kCalm[] = {Operation::syscall, Operation::sysret, Operation::stac,
                                   Operation::clac,    Operation::iret,   Operation::popf};
    if (goes_on_behind(insn))
        return insn.operation == Operation::pause; // may rest, and do what others want meanwhile
    return std::ranges::find(kCalm, insn.operation) == std::end(kCalm);
}

std::array<u64, kCrossings> emit_crossings(Assembler& a, u64 last)
{
    std::array<u64, kCrossings> entries{};
    for (const Row& row : kRows) {
        a.align();
        entries[static_cast<unsigned>(row.kind)] = a.address();
        if (row.kind == CrossingKind::syscall)
            emit_syscall(a, last);
        else if (row.kind == CrossingKind::sysret)
            emit_sysret(a, last);
        else
            emit_ac(a, last, row.kind);
    }
    return entries;
}

} // namespace seamless::cpu
