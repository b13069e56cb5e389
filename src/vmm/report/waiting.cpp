// SPDX-License-Identifier: Apache-2.0
// A vCPU's last event says where it is.
#include "vmm/report/waiting.h"

#include <fmt/format.h>

#include "spec/tdx_abi.h"
#include "vmm/report/history.h"

namespace seamless::vmm::report {

using spec::ExitReason;

namespace {

std::string_view words(Wait::Kind kind)
{
    switch (kind) {
    case Wait::Kind::not_started:
        return "has never been in the guest: nobody has started it";
    case Wait::Kind::halted:
        return "waits in HLT for an interrupt";
    case Wait::Kind::halted_blocked:
        return "waits in HLT with interrupts blocked: no interrupt can wake it";
    case Wait::Kind::running:
        return "was executing instructions";
    case Wait::Kind::outside:
        return "had left the guest: ";
    case Wait::Kind::unknown:
        break;
    }
    return "is in a state that this KVM does not show";
}

} // namespace

Wait wait_of(const VcpuFacts& vcpu)
{
    if (vcpu.events.empty())
        return {vcpu.inspected ? Wait::Kind::not_started : Wait::Kind::unknown};
    const Event& last = vcpu.events.back();
    if (last.kind == Event::Kind::tdvmcall && !last.vendor &&
        last.leaf == static_cast<u64>(spec::Tdvmcall::INSTRUCTION_HLT))
        return {last.operands[0] == 0 ? Wait::Kind::halted : Wait::Kind::halted_blocked};
    if (last.kind != Event::Kind::exit)
        return {Wait::Kind::outside};
    const auto reason = static_cast<ExitReason>(last.reason & 0xffff);
    if (reason == ExitReason::HLT)
        return {vcpu.registers && (vcpu.registers->rflags & spec::rflags::IF) == 0
                    ? Wait::Kind::halted_blocked
                    : Wait::Kind::halted};
    const bool halted = vcpu.registers && vcpu.registers->halted;
    if (reason == ExitReason::EXTERNAL_INTERRUPT && halted)
        return {vcpu.registers->rflags & spec::rflags::IF ? Wait::Kind::halted : Wait::Kind::halted_blocked};
    return {reason == ExitReason::EXTERNAL_INTERRUPT ? Wait::Kind::running : Wait::Kind::outside};
}

int highest(const std::array<u64, 4>& set)
{
    for (int v = 255; v >= 0; --v)
        if (test(set[static_cast<unsigned>(v) / 64], static_cast<unsigned>(v) % 64))
            return v;
    return -1;
}

std::string vectors(const std::array<u64, 4>& set)
{
    std::string text;
    for (unsigned v = 0; v < 256; ++v)
        if (test(set[v / 64], v % 64))
            text += fmt::format("{}{:#x}", text.empty() ? "" : ", ", v);
    return text;
}

std::string words_of_wait(const VcpuFacts& vcpu, u64 shared_bit)
{
    const Wait::Kind kind = wait_of(vcpu).kind;
    std::string text = fmt::format("vCPU {} {}", vcpu.id, words(kind));
    if (kind == Wait::Kind::outside)
        text += words_of(vcpu.events.back(), shared_bit);
    if (!vcpu.apic)
        return text;
    const auto add = [&](std::string_view name, const std::array<u64, 4>& set) {
        if (const std::string list = vectors(set); !list.empty())
            text += fmt::format("; {} {}", name, list);
    };
    add("requested (IRR):", vcpu.apic->requested);
    add("in service (ISR):", vcpu.apic->in_service);
    add("posted by the host (PIR):", vcpu.apic->posted);
    return text;
}

} // namespace seamless::vmm::report
