// SPDX-License-Identifier: Apache-2.0
// The report as a JSON object. Addresses, values and masks are hex strings, as in traces.
#include <fmt/format.h>

#include "vmm/report/console_tail.h"
#include "vmm/report/history.h"
#include "vmm/report/report.h"
#include "vmm/report/waiting.h"

namespace seamless::vmm::report {

using spec::Gpr;

namespace {

std::string hex(u64 value) { return fmt::format("\"{:#x}\"", value); }

// "[a,b]" of what `one` makes of each.
template <typename List, typename One>
std::string array(const List& list, const One& one)
{
    std::string text;
    for (const auto& item : list)
        text += (text.empty() ? "" : ",") + one(item);
    return "[" + text + "]";
}

std::string_view name_of(Death death)
{
    static constexpr std::string_view kNames[] = {
        "none",         "fatal_error", "triple_fault", "internal_error", "entry_failure",
        "memory_fault", "dead_vm",     "no_progress",  "halt",           "crash_event"};
    return kNames[static_cast<unsigned>(death)];
}

std::string_view name_of(Wait::Kind kind)
{
    static constexpr std::string_view kNames[] = {"unknown",        "not_started", "halted",
                                                  "halted_blocked", "running",     "outside"};
    return kNames[static_cast<unsigned>(kind)];
}

std::string_view name_of(Event::Kind kind)
{
    static constexpr std::string_view kNames[] = {"ve", "tdvmcall", "tdcall", "exit"};
    return kNames[static_cast<unsigned>(kind)];
}

std::string_view name_of(Frame::How how)
{
    static constexpr std::string_view kNames[] = {"rip", "frame_pointer", "exception", "guess"};
    return kNames[static_cast<unsigned>(how)];
}

std::string registers(const trace::VcpuRegisters& r)
{
    static constexpr const char* kNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    std::string text =
        fmt::format("\"rip\":{},\"rflags\":{},\"cr0\":{},\"cr2\":{},\"cr3\":{},\"cr4\":{},\"efer\":{}",
                    hex(r.rip), hex(r.rflags), hex(r.cr0), hex(r.cr2), hex(r.cr3), hex(r.cr4), hex(r.efer));
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        text += fmt::format(",\"{}\":{}", kNames[i], hex(r.gpr[i]));
    return "{" + text + "}";
}

std::string symbol(const Facts& facts, u64 address)
{
    const std::string name = facts.symbol ? facts.symbol(address) : "";
    return name.empty() ? "null" : json_text(name);
}

std::string instruction(const Instruction& i, const Facts& facts)
{
    return fmt::format("{{\"rip\":{},\"symbol\":{},\"bytes\":\"{:02x}\",\"text\":{}}}", hex(i.rip),
                       symbol(facts, i.rip), fmt::join(i.bytes, ""), json_text(i.text));
}

std::string event(const Event& e, const Facts& facts)
{
    return fmt::format("{{\"number\":{},\"kind\":\"{}\",\"rip\":{},\"text\":{}}}", e.number, name_of(e.kind),
                       hex(e.rip), json_text(words_of(e, facts.shared_bit)));
}

std::string apic(const trace::ApicState& a)
{
    return fmt::format("{{\"requested\":{},\"in_service\":{},\"posted\":{},\"task_priority\":{}}}",
                       json_text(vectors(a.requested)), json_text(vectors(a.in_service)),
                       json_text(vectors(a.posted)), a.task_priority);
}

std::string vcpu(const VcpuFacts& v, const Facts& facts)
{
    std::string text = fmt::format("\"id\":{},\"state\":\"{}\",\"words\":{}", v.id, name_of(wait_of(v).kind),
                                   json_text(words_of_wait(v, facts.shared_bit)));
    if (v.registers)
        text += ",\"registers\":" + registers(*v.registers);
    if (v.instruction)
        text += ",\"instruction\":" + instruction(*v.instruction, facts);
    text += ",\"interrupted\":" +
            array(v.interrupted, [&](const Instruction& i) { return instruction(i, facts); });
    text += ",\"backtrace\":" + array(v.backtrace, [&](const Frame& f) {
                return fmt::format("{{\"address\":{},\"symbol\":{},\"how\":\"{}\"}}", hex(f.address),
                                   symbol(facts, f.address), name_of(f.how));
            });
    text += ",\"events\":" + array(v.events, [&](const Event& e) { return event(e, facts); });
    if (v.apic)
        text += ",\"apic\":" + apic(*v.apic);
    return "{" + text + "}";
}

std::string pin(const PinFacts& p)
{
    return fmt::format("{{\"pin\":{},\"device\":{},\"vector\":{},\"level\":{},\"masked\":{},\"asserted\":{},"
                       "\"remote_irr\":{},\"edge_lost\":{}}}",
                       p.number, json_text(p.device), p.pin.vector, p.pin.level, p.pin.masked, p.pin.asserted,
                       p.pin.remote_irr, p.pin.lost);
}

} // namespace

std::string as_json(const Facts& facts, const std::vector<Diagnosis>& diagnoses)
{
    const auto cause = [](const Diagnosis& d) {
        return fmt::format("{{\"name\":{},\"sentence\":{},\"see\":{}}}", json_text(d.name),
                           json_text(d.sentence), json_text(d.see));
    };
    const auto mistake = [](const DmaMistake& m) {
        return fmt::format("{{\"address\":{},\"size\":{},\"memory\":{}}}", hex(m.address), m.size, m.memory);
    };
    return fmt::format("{{\"death\":\"{}\",\"vcpu\":{},\"causes\":{},\"panic\":{},\"vcpus\":{},\"ioapic\":{},"
                       "\"dma_mistakes\":{}}}",
                       name_of(facts.outcome.death), facts.outcome.vcpu, array(diagnoses, cause),
                       facts.panic.empty() ? "null" : json_text(facts.panic),
                       array(facts.vcpus, [&](const VcpuFacts& v) { return vcpu(v, facts); }),
                       array(facts.pins, pin), array(facts.dma, mistake));
}

} // namespace seamless::vmm::report
