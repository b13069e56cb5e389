// SPDX-License-Identifier: Apache-2.0
// Causes that have to do with memory: private and shared, accepted and not, devices' registers, stacks.
#include <fmt/format.h>

#include "spec/ept.h"
#include "spec/tdx_abi.h"
#include "vmm/report/diagnosis.h"

namespace seamless::vmm::report {

using spec::ExitReason;
using spec::Gpr;

namespace {

constexpr u8 kDoubleFault = 8, kPageFaultVector = 14;

bool is_ept(const Event& e) { return (e.reason & 0xffff) == static_cast<u32>(ExitReason::EPT_VIOLATION); }

// What the host's interrupts add says nothing: whoever ends the run sends one.
const Event* last_ept_exit(const Case& c)
{
    for (auto e = c.vcpu.events.rbegin(); e != c.vcpu.events.rend() && e->kind == Event::Kind::exit; ++e)
        if ((e->reason & 0xffff) != static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT))
            return is_ept(*e) ? &*e : nullptr;
    return nullptr;
}

std::string instruction_at_rip(const Case& c)
{
    return c.vcpu.instruction ? c.code(*c.vcpu.instruction) : "the guest";
}

std::string held_by_ve_info(const Case& c)
{
    const spec::VeInfo& ve = c.vcpu.td->ve_info;
    const auto reason = static_cast<ExitReason>(ve.exit_reason & 0xffff);
    if (reason == ExitReason::EPT_VIOLATION)
        return "the #VE of an access to " + c.place(ve.gpa);
    return fmt::format("the #VE of an instruction ({})", spec::exit_reason_name(reason));
}

// How many #VEs, counted from the last one, came each while the handler of the one before was running: the
// stack only grew.
unsigned nested_ves(const std::vector<Event>& events)
{
    unsigned count = 0;
    u64 rsp = 0;
    for (auto e = events.rbegin(); e != events.rend(); ++e) {
        if (e->kind != Event::Kind::ve)
            continue;
        if (count != 0 && e->rsp <= rsp)
            break;
        rsp = e->rsp;
        ++count;
    }
    return count;
}

// The last access to MMIO whose #VE the guest has read without asking the host for the access; nullptr if
// there is none.
const Event* unanswered_mmio(const Case& c)
{
    const Event* open = nullptr;
    for (const Event& e : c.vcpu.events) {
        if (e.kind == Event::Kind::ve && open == nullptr)
            open = is_ept(e) && c.is_shared(e.gpa) ? &e : nullptr;
        else if (open != nullptr && e.kind == Event::Kind::tdvmcall &&
                 e.leaf == static_cast<u64>(spec::Tdvmcall::VE_REQUEST_MMIO) &&
                 (e.operands[2] & ~c.facts.shared_bit & ~kPageMask) ==
                     (open->gpa & ~c.facts.shared_bit & ~kPageMask))
            open = nullptr;
    }
    return open;
}

} // namespace

std::string unread_ve(const Case& c)
{
    if (!c.vcpu.td || c.vcpu.td->ve_info.valid == 0)
        return {};
    if (const Event* exit = last_ept_exit(c); c.died(Death::no_progress) && exit != nullptr)
        return fmt::format(
            "The #VE handler caused a second #VE before it read VE_INFO: {} accessed {}, while "
            "VE_INFO still holds {}. The processor cannot deliver another #VE before "
            "TDG.VP.VEINFO.GET, so the access leaves the guest for ever",
            instruction_at_rip(c), c.place(exit->gpa), held_by_ve_info(c));
    for (auto e = c.vcpu.events.rbegin(); e != c.vcpu.events.rend(); ++e)
        if (e->injected == kDoubleFault && e->kind == Event::Kind::exit)
            return fmt::format("The #VE handler caused a second #VE before it read VE_INFO: that of an "
                               "instruction ({}) at {}, which became a double fault, because VE_INFO still "
                               "holds {}. TDG.VP.VEINFO.GET comes first",
                               spec::exit_reason_name(static_cast<ExitReason>(e->reason & 0xffff)),
                               c.code(e->rip), held_by_ve_info(c));
    return {};
}

std::string unaccepted_memory(const Case& c)
{
    u64 gpa = 0;
    if (const Event* exit = last_ept_exit(c); c.died(Death::dead_vm) && exit != nullptr)
        gpa = exit->gpa;
    else if (const spec::VeInfo* ve = c.vcpu.td ? &c.vcpu.td->ve_info : nullptr;
             ve != nullptr && (ve->exit_reason & 0xffff) == static_cast<u32>(ExitReason::EPT_VIOLATION) &&
             c.facts.outcome.kind == Outcome::Kind::guest_died)
        gpa = ve->gpa;
    else
        return {};
    const auto state = c.facts.sept_state ? c.facts.sept_state(c.vcpu.id, gpa) : std::nullopt;
    if (c.is_shared(gpa) || state != static_cast<u8>(spec::SeptState::PENDING))
        return {};
    return fmt::format("{} touched private memory that the TD has not accepted: {}. Each page has to be "
                       "accepted once, by TDG.MEM.PAGE.ACCEPT, after the host has added it and after each "
                       "conversion from shared to private",
                       instruction_at_rip(c), c.place(gpa));
}

std::string code_in_shared_memory(const Case& c)
{
    const Event* exit = last_ept_exit(c);
    if (!c.died(Death::dead_vm) || exit == nullptr || !c.is_shared(exit->gpa) ||
        !(exit->qualification & spec::ept::qual::FETCH))
        return {};
    return fmt::format("The TD fetched code from shared memory, which the processor never allows: {}",
                       c.place(exit->gpa));
}

std::string mmio_as_private(const Case& c)
{
    if (!c.facts.td || !c.died(Death::memory_fault) || !c.facts.outcome.private_)
        return {};
    const u64 gpa = c.facts.outcome.gpa;
    const std::string owner = c.facts.owner ? c.facts.owner(gpa) : "";
    const std::string what =
        owner.empty() ? "there is no memory there" : "the device " + owner + " is there, and";
    return fmt::format(
        "{} accessed guest-physical address {:#x} as private memory, but {} only shared "
        "addresses reach a device: set the shared bit ({:#x}) in the page-table entry that maps it",
        instruction_at_rip(c), gpa, owner.empty() ? what + "; and" : what, c.facts.shared_bit);
}

std::string stack_overflow(const Case& c)
{
    if (!c.died(Death::triple_fault) || c.vcpu.stack_mapped || !c.vcpu.registers)
        return {};
    const u64 rsp = c.vcpu.registers->gpr[static_cast<unsigned>(Gpr::rsp)];
    std::string text =
        fmt::format("The stack overflowed: RSP is {:#x}, and below it nothing is mapped, so that "
                    "neither the exception nor the double fault could be delivered",
                    rsp);
    if (const unsigned nested = nested_ves(c.vcpu.events); nested > 3)
        text +=
            fmt::format(". It grew in the #VE handler: the last {} #VEs came each before the handler of the "
                        "one before had returned. A #VE handler must not cause #VE itself without end",
                        nested);
    return text;
}

std::string no_gate(const Case& c)
{
    constexpr u32 kNeeded = 16 * (kPageFaultVector + 1); // up to #PF
    if (!c.died(Death::triple_fault) || !c.vcpu.registers || c.vcpu.registers->idtr.limit + 1u >= kNeeded)
        return {};
    return fmt::format(
        "An exception found no handler: the IDT at {:#x} has a limit of {:#x}, which is too small "
        "for its gate and for that of the double fault",
        c.vcpu.registers->idtr.base, c.vcpu.registers->idtr.limit);
}

std::string triple_fault(const Case& c)
{
    if (!c.died(Death::triple_fault) || !c.vcpu.registers)
        return {};
    return fmt::format(
        "{} raised an exception whose handler, and then the double fault's, could not be called: "
        "their gates, code or stack are not there. If it was a page fault, it was at {:#x} (CR2)",
        instruction_at_rip(c), c.vcpu.registers->cr2);
}

std::string no_progress(const Case& c)
{
    const Event* exit = last_ept_exit(c);
    if (!c.died(Death::no_progress) || exit == nullptr)
        return {};
    return fmt::format(
        "{} accessed {} and left the guest for ever: neither is the access allowed nor can the "
        "processor turn it into a #VE (an exception is being delivered, or the entry that ends the "
        "walk suppresses it)",
        instruction_at_rip(c), c.place(exit->gpa));
}

std::string undecoded_mmio(const Case& c)
{
    const Event* ve = unanswered_mmio(c);
    if (ve == nullptr)
        return {};
    const Instruction* culprit = nullptr;
    for (const Instruction& i : c.vcpu.interrupted)
        if (culprit == nullptr && i.reads_or_writes_memory)
            culprit = &i;
    std::string text = fmt::format(
        "The #VE handler did not handle an access to MMIO at {}, linear {:#x}{}: it read VE_INFO and never "
        "asked the host by TDG.VP.VMCALL<#VE.RequestMMIO>",
        c.place(ve->gpa), ve->gla, culprit != nullptr ? ", by " + c.code(*culprit) : "");
    if (culprit != nullptr && !culprit->simple_move)
        text += ". That instruction is no plain MOV, which is all that a request can say and most handlers "
                "decode: use accessors that force one (Linux: readl(), writel())";
    return text;
}

std::string dma_to_private(const Case& c)
{
    for (const DmaMistake& m : c.facts.dma)
        if (m.memory)
            return fmt::format(
                "A device was sent to memory that the TD uses as private: {:#x} bytes at "
                "guest-physical address {:#x}. The device sees the shared page of that address, "
                "which is another one (zeros, if nobody wrote it), and the TD does not see what "
                "the device writes. Convert the buffer by TDG.VP.VMCALL<MapGPA> and map it with "
                "the shared bit",
                m.size, m.address);
    return {};
}

std::string dma_to_nowhere(const Case& c)
{
    for (const DmaMistake& m : c.facts.dma)
        if (!m.memory)
            return fmt::format(
                "A device was sent to {:#x} bytes at guest-physical address {:#x}, where there is "
                "no memory{}",
                m.size, m.address,
                c.is_shared(m.address) ? ": the shared bit is for page tables, and no part of an "
                                         "address that a device gets"
                                       : "");
    return {};
}

} // namespace seamless::vmm::report
