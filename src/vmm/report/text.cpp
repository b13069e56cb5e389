// SPDX-License-Identifier: Apache-2.0
// The report as lines of text: causes first, then each vCPU.
#include <fmt/format.h>

#include "vmm/report/console_tail.h"
#include "vmm/report/history.h"
#include "vmm/report/report.h"
#include "vmm/report/waiting.h"

namespace seamless::vmm::report {

using spec::Gpr;
using spec::Seg;

namespace {

constexpr std::size_t kEventsShown = 20, kLine = 400;
constexpr std::size_t kVcpusInFull = 8; // of the others, what they do

std::string causes(const std::vector<Diagnosis>& diagnoses)
{
    std::string text;
    for (const Diagnosis& d : diagnoses) {
        text += fmt::format("cause: {}.\n", printable(d.sentence, 1000));
        if (!d.see.empty())
            text += fmt::format("  see: {}\n", d.see);
    }
    return text;
}

std::string registers(const trace::VcpuRegisters& r)
{
    const auto g = [&](Gpr x) { return r.gpr[static_cast<unsigned>(x)]; };
    const auto s = [&](Seg x) { return r.seg[static_cast<unsigned>(x)].selector; };
    return fmt::format("  rip {:016x} rsp {:016x} rflags {:08x} cs {:04x} ss {:04x}\n"
                       "  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n"
                       "  rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n"
                       "  r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n"
                       "  r13 {:016x} r14 {:016x} r15 {:016x} cr2 {:016x}\n"
                       "  cr0 {:x} cr3 {:x} cr4 {:x} efer {:x} idt {:x}+{:x} gdt {:x}+{:x}\n",
                       r.rip, g(Gpr::rsp), r.rflags, s(Seg::cs), s(Seg::ss), g(Gpr::rax), g(Gpr::rbx),
                       g(Gpr::rcx), g(Gpr::rdx), g(Gpr::rsi), g(Gpr::rdi), g(Gpr::rbp), g(Gpr::r8),
                       g(Gpr::r9), g(Gpr::r10), g(Gpr::r11), g(Gpr::r12), g(Gpr::r13), g(Gpr::r14),
                       g(Gpr::r15), r.cr2, r.cr0, r.cr3, r.cr4, r.efer, r.idtr.base, r.idtr.limit,
                       r.gdtr.base, r.gdtr.limit);
}

std::string instruction(std::string_view what, const Instruction& i, const Case& c)
{
    return fmt::format("  {} {}: {:02x}  {}\n", what, printable(c.code(i.rip), kLine),
                       fmt::join(i.bytes, " "),
                       i.bytes.empty()  ? "cannot be read"
                       : i.text.empty() ? "no instruction"
                                        : i.text);
}

std::string_view mark(Frame::How how)
{
    return how == Frame::How::guess ? "?" : how == Frame::How::exception ? "!" : "";
}

std::string backtrace(const Case& c)
{
    if (c.vcpu.backtrace.size() < 2)
        return {};
    std::string text = "  backtrace (? a word on the stack that looks like a return address):\n";
    for (std::size_t i = 0; i < c.vcpu.backtrace.size(); ++i) {
        const Frame& f = c.vcpu.backtrace[i];
        text += fmt::format("    #{:<2} {}{}\n", i, mark(f.how), printable(c.code(f.address), kLine));
    }
    return text;
}

std::string events(const Case& c)
{
    const std::vector<Event>& list = c.vcpu.events;
    if (list.empty())
        return {};
    std::string text =
        "  last events, the oldest first (numbers count the vCPU's VM exits; of a row of accesses to "
        "ports the last few are kept):\n";
    const std::size_t first = list.size() - std::min(list.size(), kEventsShown);
    for (std::size_t i = first; i < list.size(); ++i)
        text += fmt::format("    {:>8} rip {:#x}: {}\n", list[i].number, list[i].rip,
                            printable(words_of(list[i], c.facts.shared_bit), kLine));
    return text;
}

std::string vcpu_text(const Case& c, bool in_full)
{
    std::string text = printable(words_of_wait(c.vcpu, c.facts.shared_bit), kLine) + "\n";
    if (!in_full)
        return text;
    if (c.vcpu.registers)
        text += registers(*c.vcpu.registers);
    else
        text += "  registers: this KVM does not show them\n";
    if (c.vcpu.instruction)
        text += instruction("at rip", *c.vcpu.instruction, c);
    std::size_t shown = 0;
    for (const Instruction& i : c.vcpu.interrupted)
        if (shown++ < 4)
            text += instruction("interrupted by an exception or interrupt:", i, c);
    return text + backtrace(c) + events(c);
}

std::string pins(const Facts& facts)
{
    std::string text;
    for (const PinFacts& p : facts.pins)
        text += fmt::format("  pin {:>2}, {}: vector {:#x}, {}, {}{}{}{}\n", p.number, p.device, p.pin.vector,
                            p.pin.level ? "level" : "edge", p.pin.masked ? "masked" : "enabled",
                            p.pin.asserted ? ", asserted" : "", p.pin.remote_irr ? ", waits for EOI" : "",
                            p.pin.lost ? ", an edge came while it was masked" : "");
    return text.empty() ? text : "I/O APIC:\n" + text;
}

} // namespace

std::string as_text(const Facts& facts, const std::vector<Diagnosis>& diagnoses)
{
    std::string text = causes(diagnoses);
    std::size_t shown = 0;
    for (const VcpuFacts& vcpu : facts.vcpus)
        text += vcpu_text({facts, vcpu}, shown++ < kVcpusInFull || &vcpu == facts.culprit());
    return text + pins(facts);
}

} // namespace seamless::vmm::report
