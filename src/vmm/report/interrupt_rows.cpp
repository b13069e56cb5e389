// SPDX-License-Identifier: Apache-2.0
// Causes of guests that wait: interrupts that do not come, and processors that nothing wakes.
#include <algorithm>
#include <fmt/format.h>

#include "vmm/report/diagnosis.h"
#include "vmm/report/waiting.h"

namespace seamless::vmm::report {

using Kind = Wait::Kind;

namespace {

bool waits(const VcpuFacts& vcpu)
{
    const Kind kind = wait_of(vcpu).kind;
    return kind == Kind::halted || kind == Kind::halted_blocked;
}

bool all_wait(const Facts& facts)
{
    return std::ranges::all_of(
        facts.vcpus, [](const VcpuFacts& v) { return waits(v) || wait_of(v).kind == Kind::not_started; });
}

std::string why_not(const Case& c, int vector)
{
    const trace::ApicState& apic = *c.vcpu.apic;
    if (wait_of(c.vcpu).kind == Kind::halted_blocked)
        return "it halts with interrupts blocked (RFLAGS.IF was clear, or the request for HLT says so in "
               "R12)";
    if (!apic.software_enabled)
        return "its local APIC is disabled by software (bit 8 of the spurious-interrupt vector register)";
    if (vector >> 4 <= apic.task_priority >> 4)
        return fmt::format("the task priority register holds back the vectors below {:#x}",
                           ((apic.task_priority >> 4) + 1) << 4);
    if (const int served = highest(apic.in_service); served >= 0 && vector >> 4 <= served >> 4)
        return fmt::format(
            "vector {:#x}, of the same or a higher class, is still in service: its handler has "
            "sent no EOI",
            served);
    return {};
}

} // namespace

std::string interrupt_not_taken(const Case& c)
{
    if (!c.hangs() || !waits(c.vcpu) || !c.vcpu.apic)
        return {};
    std::array<u64, 4> pending = c.vcpu.apic->requested;
    for (unsigned i = 0; i < 4; ++i)
        pending[i] |= c.vcpu.apic->posted[i];
    const int vector = highest(pending);
    const std::string why = vector >= 0 ? why_not(c, vector) : "";
    if (why.empty())
        return {};
    return fmt::format("vCPU {} waits in HLT while interrupt vector {:#x} is requested and not delivered: {}",
                       c.vcpu.id, vector, why);
}

std::string masked_pin(const Case& c)
{
    if (!c.hangs() || !all_wait(c.facts))
        return {};
    for (const PinFacts& p : c.facts.pins) {
        if (p.pin.masked && (p.pin.asserted || p.pin.lost))
            return fmt::format(
                "The guest waits in HLT for an interrupt that cannot come: the {} asserts pin {} of "
                "the I/O APIC, whose redirection entry (vector {:#x}, {}-triggered) is masked{}",
                p.device, p.number, p.pin.vector, p.pin.level ? "level" : "edge",
                p.pin.level ? ""
                            : ". An edge that comes while the pin is masked is lost: unmask it "
                              "before the device can raise it");
        if (!p.pin.level && p.pin.lost)
            return fmt::format(
                "The guest waits in HLT for an interrupt that it has lost: the {} raised pin {} of the "
                "I/O APIC (vector {:#x}, edge-triggered) while that was masked, and no edge has come "
                "since it is not",
                p.device, p.number, p.pin.vector);
    }
    return {};
}

std::string sleeps_for_good(const Case& c)
{
    const bool all_blocked = std::ranges::all_of(c.facts.vcpus, [](const VcpuFacts& v) {
        const Kind kind = wait_of(v).kind;
        return kind == Kind::halted_blocked || kind == Kind::not_started;
    });
    if (!c.hangs() || !all_blocked || !waits(c.vcpu) || !interrupt_not_taken(c).empty())
        return {};
    return "Every vCPU that runs has halted with interrupts blocked: nothing can wake this guest any more. "
           "It is "
           "how most guests end when they have given up";
}

std::string waits_for_interrupt(const Case& c)
{
    if (!c.hangs() || !all_wait(c.facts))
        return {};
    return "All vCPUs wait in HLT, and no interrupt is requested, posted or masked that could wake them: the "
           "guest "
           "waits for a device or a timer that it never started, or whose interrupt it has lost";
}

std::string spins(const Case& c)
{
    if (!c.hangs() || wait_of(c.vcpu).kind != Kind::running || !c.vcpu.instruction)
        return {};
    return fmt::format("vCPU {} was still executing when the time was up: {}", c.vcpu.id,
                       c.code(*c.vcpu.instruction));
}

} // namespace seamless::vmm::report
