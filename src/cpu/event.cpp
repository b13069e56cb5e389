// SPDX-License-Identifier: Apache-2.0
// Delivery of exceptions and interrupts through the IDT. SDM: "Interrupt and Exception Handling", "64-Bit
// Mode Exception and Interrupt Handling", "Double Fault Exception".
#include "cpu/core.h"

namespace seamless::cpu {
namespace {

using namespace spec;

enum class Severity : u8 { benign, contributory, page_fault };

// SDM: "Interrupt and Exception Classes". #VE counts with the page faults.
Severity severity(const Event& event)
{
    if (event.type != intr_info::HARDWARE_EXCEPTION)
        return Severity::benign;
    switch (static_cast<Vector>(event.vector)) {
    case Vector::DE:
    case Vector::TS:
    case Vector::NP:
    case Vector::SS:
    case Vector::GP:
    case Vector::CP:
        return Severity::contributory;
    case Vector::PF:
    case Vector::VE:
        return Severity::page_fault;
    default:
        return Severity::benign;
    }
}

// SDM: "Conditions for Generating a Double Fault".
bool becomes_double_fault(Severity first, Severity second)
{
    return (first == Severity::contributory && second == Severity::contributory) ||
           (first == Severity::page_fault && second != Severity::benign);
}

bool software(const Event& event)
{
    return event.type == intr_info::SOFTWARE_INTERRUPT || event.type == intr_info::SOFTWARE_EXCEPTION ||
           event.type == intr_info::PRIVILEGED_SOFTWARE_EXCEPTION;
}

// Error codes of faults met while an event is delivered: the IDT's selector, EXT unless software asked for
// it.
u32 idt_error(const Event& event) { return u32{event.vector} * 8 + 2 + (software(event) ? 0 : 1); }

struct Gate {
    u16 selector = 0;
    u16 attributes = 0; // type 11:8 of the second word, DPL 14:13, P 15; IST 2:0
    u64 offset = 0;

    [[nodiscard]] unsigned type() const { return attributes >> 8 & 15; }
    [[nodiscard]] unsigned dpl() const { return attributes >> 13 & 3; }
    [[nodiscard]] bool present() const { return attributes >> 15; }
    [[nodiscard]] unsigned ist() const { return attributes & 7; }
};

Gate gate_from(u64 low, u64 high)
{
    return {.selector = static_cast<u16>(low >> 16),
            .attributes = static_cast<u16>(low >> 32),
            .offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32};
}

constexpr unsigned kInterruptGate = 14, kTrapGate = 15;

} // namespace

bool Core::deliver(Event event)
{
    bool nested = false;
    for (;;) {
        // What VM entry injects is exempt; what goes wrong in delivering it is not.
        const bool injected = std::exchange(injecting_, false);
        if (!injected && intercepted_exception(event))
            return false;
        if (event.type == intr_info::HARDWARE_EXCEPTION && event.vector == static_cast<u8>(Vector::PF))
            frame_.state.cr2 = record_.cr2;
        if (event.type == intr_info::HARDWARE_EXCEPTION && event.vector == static_cast<u8>(Vector::VE) &&
            !nested && !injected) // an injected one is the module's, which has traced it
            TRACE(trace, trace::Event::ve_inject, exit_reason_name(ExitReason::EPT_VIOLATION),
                  record_.qualification, record_.gla.value(), record_.gpa.value(), frame_.state.rip,
                  trace::Bytes(engine_->last_bytes()), engine_->last_length());
        delivering_ = true;
        current_event_ = event;
        const Result<void, Fault> done = deliver_once(event);
        if (done) {
            delivering_ = false;
            frame_.state.interruptibility &= ~(interruptibility::STI | interruptibility::MOV_SS);
            return true;
        }
        if (done.error() == Fault::vm_exit)
            return false; // with IDT-vectoring information
        delivering_ = false;
        if (event.vector == static_cast<u8>(Vector::DF) && event.type == intr_info::HARDWARE_EXCEPTION) {
            (void)exit(ExitReason::TRIPLE_FAULT);
            return false;
        }
        Event second{.vector = static_cast<u8>(record_.vector),
                     .type = intr_info::HARDWARE_EXCEPTION,
                     .has_error_code = has_error_code(record_.vector),
                     .error_code = record_.error_code};
        if (becomes_double_fault(severity(event), severity(second)))
            second = {.vector = static_cast<u8>(Vector::DF), .has_error_code = true};
        event = second;
        nested = true;
    }
}

Result<void, Fault> Core::deliver_once(const Event& event)
{
    if (frame_.state.long_mode())
        return deliver_long_mode(event);
    if (frame_.state.protected_mode())
        return deliver_protected_mode(event);
    return fail(gp(idt_error(event))); // real mode has no engine yet: escalates to a triple fault, visibly
}

// RSPn (index 0 to 2) or ISTn (index 3 + n) of the 64-bit TSS.
Result<u64, Fault> Core::tss_stack(unsigned index)
{
    const Segment& tr = frame_.state.segment(Seg::tr);
    const u64 at = index < 3 ? 4 + 8 * u64{index} : 36 + 8 * u64{index - 4};
    if (at + 7 > tr.limit)
        return fail(exception(Vector::TS, tr.selector & 0xfffcu));
    return mmu_.load<u64>(Gva(tr.base + at), Purpose::implicit);
}

Result<void, Fault> Core::deliver_long_mode(const Event& event)
{
    CpuState& s = frame_.state;
    const u64 at = u64{event.vector} * 16;
    if (at + 15 > s.idtr.limit)
        return fail(gp(idt_error(event)));
    const u64 low = TRY(mmu_.load<u64>(Gva(s.idtr.base + at), Purpose::implicit));
    const u64 high = TRY(mmu_.load<u64>(Gva(s.idtr.base + at + 8), Purpose::implicit));
    const Gate gate = gate_from(low, high);
    if (gate.type() != kInterruptGate && gate.type() != kTrapGate)
        return fail(gp(idt_error(event)));
    if (software(event) && event.type != intr_info::PRIVILEGED_SOFTWARE_EXCEPTION && gate.dpl() < s.cpl())
        return fail(gp(u32{event.vector} * 8 + 2));
    if (!gate.present())
        return fail(exception(Vector::NP, idt_error(event)));

    const u32 ext = software(event) ? 0 : 1;
    if ((gate.selector & 0xfffc) == 0)
        return fail(gp(ext));
    const u64 descriptor = TRY(read_descriptor(gate.selector));
    Segment cs = segment_from(descriptor, gate.selector);
    const unsigned dpl = segment_ar::dpl(cs.ar);
    if (!(cs.ar & segment_ar::S) || !(segment_ar::type(cs.ar) & 8) || dpl > s.cpl() ||
        !(cs.ar & segment_ar::L) || (cs.ar & segment_ar::DB))
        return fail(gp((gate.selector & 0xfffcu) | ext));
    if (!(cs.ar & segment_ar::P))
        return fail(exception(Vector::NP, (gate.selector & 0xfffcu) | ext));
    const bool conforming = segment_ar::type(cs.ar) & 4;
    const unsigned new_cpl = conforming ? s.cpl() : dpl;
    const bool inner = new_cpl < s.cpl();

    u64 rsp = s.reg(Gpr::rsp);
    if (gate.ist() != 0)
        rsp = TRY(tss_stack(3 + gate.ist()));
    else if (inner)
        rsp = TRY(tss_stack(new_cpl));
    if (!mmu_.canonical(Gva(rsp)))
        return fail(exception(Vector::SS, ext));
    rsp &= ~u64{15};

    u64 flags = s.rflags;
    if (event.type == intr_info::HARDWARE_EXCEPTION && event.vector != static_cast<u8>(Vector::DB))
        flags |= rflags::RF;
    const u64 rip = s.rip + (software(event) ? event.instruction_length : 0);
    const u64 pushed[] = {
        event.error_code,           rip, s.segment(Seg::cs).selector, flags, s.reg(Gpr::rsp),
        s.segment(Seg::ss).selector};
    const unsigned first = event.has_error_code ? 0 : 1;
    const u64 bytes = (6 - first) * 8;

    // The pushes are made with the new privilege; RSP moves only when all of them have succeeded.
    Segment ss = s.segment(Seg::ss);
    const Segment old_ss = ss;
    if (inner) {
        ss = {.base = 0,
              .limit = 0xffffffff,
              .ar = segment_ar::UNUSABLE | new_cpl << 5,
              .selector = static_cast<u16>(new_cpl)};
        s.segment(Seg::ss) = ss;
    }
    const Result<void, Fault> stored =
        mmu_.write(Gva(rsp - bytes), {reinterpret_cast<const u8*>(pushed + first), bytes}, Purpose::stack);
    if (!stored) {
        s.segment(Seg::ss) = old_ss;
        return stored;
    }
    cs.selector = static_cast<u16>((gate.selector & ~3) | new_cpl);
    cs.ar |= 1; // accessed
    s.segment(Seg::cs) = cs;
    s.reg(Gpr::rsp) = rsp - bytes;
    s.rip = gate.offset;
    s.rflags &= ~(rflags::TF | rflags::NT | rflags::RF | rflags::VM |
                  (gate.type() == kInterruptGate ? rflags::IF : 0));
    return {};
}

// 32-bit gates. SDM: "Exception- or Interrupt-Handler Procedures". Task gates and 16-bit gates are not there.
Result<void, Fault> Core::deliver_protected_mode(const Event& event)
{
    CpuState& s = frame_.state;
    const u64 at = u64{event.vector} * 8;
    if (at + 7 > s.idtr.limit)
        return fail(gp(idt_error(event)));
    const Gate gate = gate_from(TRY(mmu_.load<u64>(Gva(s.idtr.base + at), Purpose::implicit)), 0);
    if (gate.type() != kInterruptGate && gate.type() != kTrapGate)
        return fail(gp(idt_error(event)));
    if (software(event) && gate.dpl() < s.cpl())
        return fail(gp(u32{event.vector} * 8 + 2));
    if (!gate.present())
        return fail(exception(Vector::NP, idt_error(event)));
    const u32 ext = software(event) ? 0 : 1;
    if ((gate.selector & 0xfffc) == 0)
        return fail(gp(ext));
    Segment cs = segment_from(TRY(read_descriptor(gate.selector)), gate.selector);
    const unsigned dpl = segment_ar::dpl(cs.ar);
    if (!(cs.ar & segment_ar::S) || !(segment_ar::type(cs.ar) & 8) || dpl > s.cpl())
        return fail(gp((gate.selector & 0xfffcu) | ext));
    const unsigned new_cpl = segment_ar::type(cs.ar) & 4 ? s.cpl() : dpl;
    const bool inner = new_cpl < s.cpl();

    u32 esp = static_cast<u32>(s.reg(Gpr::rsp));
    const Segment old_ss = s.segment(Seg::ss);
    if (inner) {
        const Segment& tr = s.segment(Seg::tr);
        const u64 tss = tr.base + 4 + 8 * u64{new_cpl};
        const u16 selector = TRY(mmu_.load<u16>(Gva(tss + 4), Purpose::implicit));
        esp = TRY(mmu_.load<u32>(Gva(tss), Purpose::implicit));
        Segment ss = segment_from(TRY(read_descriptor(selector, Vector::TS)), selector);
        if (segment_ar::dpl(ss.ar) != new_cpl || !(segment_ar::type(ss.ar) & 2))
            return fail(exception(Vector::TS, (selector & 0xfffcu) | ext));
        s.segment(Seg::ss) = ss;
    }
    u32 flags = static_cast<u32>(s.rflags);
    if (event.type == intr_info::HARDWARE_EXCEPTION && event.vector != static_cast<u8>(Vector::DB))
        flags |= static_cast<u32>(rflags::RF);
    const u32 eip = static_cast<u32>(s.rip) + (software(event) ? event.instruction_length : 0);
    const u32 pushed[] = {
        event.error_code, eip, s.segment(Seg::cs).selector, flags, static_cast<u32>(s.reg(Gpr::rsp)),
        old_ss.selector};
    const unsigned first = event.has_error_code ? 0 : 1;
    const unsigned last = inner ? 6 : 4;
    const u32 bytes = (last - first) * 4;
    const u64 base = s.segment(Seg::ss).base;
    const Result<void, Fault> stored =
        mmu_.write(Gva(static_cast<u32>(base + esp - bytes)),
                   {reinterpret_cast<const u8*>(pushed + first), bytes}, Purpose::stack);
    if (!stored) {
        s.segment(Seg::ss) = old_ss;
        return stored;
    }
    cs.selector = static_cast<u16>((gate.selector & ~3) | new_cpl);
    s.segment(Seg::cs) = cs;
    s.reg(Gpr::rsp) = esp - bytes;
    s.rip = gate.offset;
    s.rflags &= ~(rflags::TF | rflags::NT | rflags::RF | rflags::VM |
                  (gate.type() == kInterruptGate ? rflags::IF : 0));
    return {};
}

} // namespace seamless::cpu
