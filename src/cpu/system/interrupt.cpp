// SPDX-License-Identifier: Apache-2.0
// Software interrupts, IRET, and the fast system calls. SDM: "INT n", "IRET", "SYSCALL", "SYSRET",
// "SYSENTER".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu {

using spec::Gpr;
using spec::Seg;
using spec::Vector;
namespace ar = spec::segment_ar;
namespace rf = spec::rflags;
namespace info = spec::intr_info;

Result<void, Fault> return_to_outer(Core& core, const spec::Segment& cs, u64 offset, unsigned size)
{
    CpuState& s = core.state();
    const unsigned cpl = cs.selector & 3u;
    const u64 rsp_at = s.reg(Gpr::rsp) + offset;
    const u64 rsp = TRY(core.mmu().load_n(linear_address(s, Seg::ss, rsp_at), size, Purpose::stack));
    const u16 selector = static_cast<u16>(
        TRY(core.mmu().load_n(linear_address(s, Seg::ss, rsp_at + size), size, Purpose::stack)));
    spec::Segment ss;
    if ((selector & 0xfffc) == 0) {
        if (!(cs.ar & ar::L) || cpl == 3)
            return fail(core.gp());
        ss = {.limit = 0, .ar = ar::UNUSABLE | cpl << 5, .selector = selector};
    } else {
        const u32 error = selector & 0xfffcu;
        ss = Core::segment_from(TRY(core.read_descriptor(selector)), selector);
        const unsigned type = ar::type(ss.ar);
        if ((selector & 3u) != cpl || ar::dpl(ss.ar) != cpl || !(ss.ar & ar::S) || (type & 8) || !(type & 2))
            return fail(core.gp(error));
        if (!(ss.ar & ar::P))
            return fail(core.exception(Vector::SS, error));
        ss.ar |= 1;
    }
    s.segment(Seg::ss) = ss;
    s.reg(Gpr::rsp) = size == 8   ? rsp
                      : size == 4 ? static_cast<u32>(rsp)
                                  : with_field(s.reg(Gpr::rsp), 15, 0, rsp);
    for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) {
        spec::Segment& data = s.segment(seg);
        const unsigned type = ar::type(data.ar);
        const bool conforming = (type & 0xc) == 0xc;
        if (!(data.ar & ar::UNUSABLE) && ar::dpl(data.ar) < cpl && !conforming)
            data = {.base = data.base, .limit = 0, .ar = ar::UNUSABLE, .selector = 0};
    }
    return {};
}

namespace op {

using decode::Instruction;

namespace {

// Delivered as software events: RIP advances past the instruction, and only if delivery succeeds.
Result<Flow, Fault> software_event(Core& core, const Instruction& insn, u8 vector, u32 type)
{
    if (!core.deliver({.vector = vector,
                       .type = type,
                       .has_error_code = false,
                       .error_code = 0,
                       .instruction_length = insn.length()}))
        return fail(Fault::vm_exit);
    return Flow::stay;
}

constexpr spec::Segment flat_code(u16 selector, unsigned dpl, bool long_mode)
{
    return {.base = 0,
            .limit = 0xffffffff,
            .ar = 0xb | ar::S | dpl << 5 | ar::P | (long_mode ? ar::L : ar::DB) | ar::G,
            .selector = selector};
}

constexpr spec::Segment flat_stack(u16 selector, unsigned dpl)
{
    return {.base = 0,
            .limit = 0xffffffff,
            .ar = 3 | ar::S | dpl << 5 | ar::P | ar::DB | ar::G,
            .selector = selector};
}

// The flags IRET may change.
u64 iret_flags(const CpuState& s, unsigned size)
{
    u64 writable = rf::kArithmetic | rf::TF | rf::DF | rf::NT | rf::RF | rf::AC | rf::ID;
    if (s.cpl() == 0)
        writable |= rf::IOPL;
    if (s.cpl() <= field(s.rflags, 13, 12))
        writable |= rf::IF;
    return size == 2 ? writable & 0xffff : writable;
}

Result<Flow, Fault> return_from_event(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = insn.z.operand_width / 8;
    if (!s.protected_mode() || (s.rflags & rf::VM) || (s.long_mode() && (s.rflags & rf::NT)))
        return fail(core.gp());
    const u64 rip = TRY(peek(core, 0, size));
    const u16 selector = static_cast<u16>(TRY(peek(core, 1, size)));
    const u64 flags = TRY(peek(core, 2, size));
    const u32 error = selector & 0xfffcu;
    const unsigned rpl = selector & 3u;
    if (error == 0)
        return fail(core.gp());
    spec::Segment cs = Core::segment_from(TRY(core.read_descriptor(selector)), selector);
    const unsigned type = ar::type(cs.ar);
    const unsigned dpl = ar::dpl(cs.ar);
    if (!(cs.ar & ar::S) || !(type & 8) || rpl < s.cpl() || ((type & 4) ? dpl > rpl : dpl != rpl))
        return fail(core.gp(error));
    if (!(cs.ar & ar::P))
        return fail(core.exception(Vector::NP, error));
    if ((cs.ar & ar::L) && s.long_mode() && !core.mmu().canonical(Gva(rip)))
        return fail(core.gp());
    cs.ar |= 1;
    const u64 writable = iret_flags(s, size);
    const bool outer = rpl > s.cpl();
    if (s.code64() || outer)
        TRY(return_to_outer(core, cs, 3 * size, size));
    else
        release(core, 3 * size);
    s.rflags = (s.rflags & ~writable) | (flags & writable) | rf::FIXED1;
    s.segment(Seg::cs) = cs;
    s.rip = size == 8 ? rip : truncate(rip, size);
    return Flow::stay;
}

} // namespace

Result<Flow, Fault> int_n(Core& core, const Instruction& insn)
{
    return software_event(core, insn, static_cast<u8>(insn.operands[0].imm.value.u),
                          info::SOFTWARE_INTERRUPT);
}

Result<Flow, Fault> int1(Core& core, const Instruction& insn)
{
    return software_event(core, insn, static_cast<u8>(Vector::DB), info::PRIVILEGED_SOFTWARE_EXCEPTION);
}

Result<Flow, Fault> int3(Core& core, const Instruction& insn)
{
    return software_event(core, insn, static_cast<u8>(Vector::BP), info::SOFTWARE_EXCEPTION);
}

Result<Flow, Fault> into(Core& core, const Instruction& insn)
{
    if (!(core.state().rflags & rf::OF))
        return Flow::next;
    return software_event(core, insn, static_cast<u8>(Vector::OF), info::SOFTWARE_EXCEPTION);
}

// Behind it NMIs are not blocked any more, even if it raises an exception; a VM exit leaves it to be executed
// again.
Result<Flow, Fault> iret(Core& core, const Instruction& insn)
{
    const Result<Flow, Fault> done = return_from_event(core, insn);
    if (done || done.error() == Fault::exception)
        core.state().interruptibility &= ~spec::interruptibility::NMI;
    return done;
}

Result<Flow, Fault> syscall(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.code64() || !(s.efer & spec::efer::SCE))
        return fail(core.ud());
    s.reg(Gpr::rcx) = s.rip + insn.length();
    s.reg(Gpr::r11) = s.rflags & ~rf::RF;
    s.rip = s.lstar;
    s.rflags = (s.rflags & ~(s.fmask | rf::RF)) | rf::FIXED1;
    const u16 selector = static_cast<u16>(field(s.star, 47, 32) & ~u64{3});
    s.segment(Seg::cs) = flat_code(selector, 0, true);
    s.segment(Seg::ss) = flat_stack(static_cast<u16>(selector + 8), 0);
    return Flow::stay;
}

Result<Flow, Fault> sysret(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.code64() || !(s.efer & spec::efer::SCE))
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    const bool to64 = insn.z.operand_width == 64;
    if (to64 && !core.mmu().canonical(Gva(s.reg(Gpr::rcx))))
        return fail(core.gp());
    const u16 base = static_cast<u16>(field(s.star, 63, 48));
    s.rip = to64 ? s.reg(Gpr::rcx) : static_cast<u32>(s.reg(Gpr::rcx));
    s.rflags = (s.reg(Gpr::r11) & rf::kSysret) | rf::FIXED1;
    s.segment(Seg::cs) = flat_code(static_cast<u16>((to64 ? base + 16 : base) | 3), 3, to64);
    s.segment(Seg::ss) = flat_stack(static_cast<u16>((base + 8) | 3), 3);
    return Flow::stay;
}

Result<Flow, Fault> sysenter(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (!s.protected_mode() || (s.sysenter_cs & 0xfffc) == 0)
        return fail(core.gp());
    const u16 selector = static_cast<u16>(s.sysenter_cs & 0xfffc);
    const bool to64 = s.long_mode();
    s.rflags &= ~(rf::VM | rf::IF | rf::RF);
    s.reg(Gpr::rsp) = to64 ? s.sysenter_esp : static_cast<u32>(s.sysenter_esp);
    s.rip = to64 ? s.sysenter_eip : static_cast<u32>(s.sysenter_eip);
    s.segment(Seg::cs) = flat_code(selector, 0, to64);
    s.segment(Seg::ss) = flat_stack(static_cast<u16>(selector + 8), 0);
    return Flow::stay;
}

Result<Flow, Fault> sysexit(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.protected_mode() || (s.sysenter_cs & 0xfffc) == 0 || user_mode(core))
        return fail(core.gp());
    const bool to64 = insn.z.operand_width == 64;
    const u64 rip = s.reg(Gpr::rdx);
    const u64 rsp = s.reg(Gpr::rcx);
    if (to64 && (!core.mmu().canonical(Gva(rip)) || !core.mmu().canonical(Gva(rsp))))
        return fail(core.gp());
    const u64 base = (s.sysenter_cs & 0xfffc) + (to64 ? 32 : 16);
    s.rip = to64 ? rip : static_cast<u32>(rip);
    s.reg(Gpr::rsp) = to64 ? rsp : static_cast<u32>(rsp);
    s.segment(Seg::cs) = flat_code(static_cast<u16>(base | 3), 3, to64);
    s.segment(Seg::ss) = flat_stack(static_cast<u16>((base + 8) | 3), 3);
    return Flow::stay;
}

} // namespace op
} // namespace seamless::cpu
