// SPDX-License-Identifier: Apache-2.0
// The table of causes. Rows about a guest's own words come after those about what it did: a guest that panics
// seldom knows why.
#include "vmm/report/diagnosis.h"

#include <algorithm>
#include <fmt/format.h>

namespace seamless::vmm::report {
namespace {

struct Row {
    std::string_view name;
    Look look;
    std::string_view see;
    bool last_resort = false; // said only if nothing else is
};

// clang-format off
constexpr Row kRows[] = {
    {"unread-ve",             unread_ve,             "TDX module base specification: \"Virtualization Exception (#VE)\"; TDX ABI: TDG.VP.VEINFO.GET"},
    {"unaccepted-memory",     unaccepted_memory,     "TDX ABI: TDG.MEM.PAGE.ACCEPT; TDX module base specification: \"Secure EPT Entry\", state PENDING"},
    {"code-in-shared-memory", code_in_shared_memory, "TDX module base specification: \"TD Shared Memory\""},
    {"mmio-as-private",       mmio_as_private,       "GHCI: \"TDG.VP.VMCALL<#VE.RequestMMIO>\"; TDX module base specification: \"Guest Physical Address Space\""},
    {"stack-overflow",        stack_overflow,        "SDM: \"Interrupt 8, Double Fault Exception (#DF)\", \"Interrupt Stack Table\""},
    {"no-gate",               no_gate,               "SDM: \"Interrupt Descriptor Table (IDT)\""},
    {"undecoded-mmio",        undecoded_mmio,        "GHCI: \"TDG.VP.VMCALL<#VE.RequestMMIO>\""},
    {"refused-msr",           refused_msr,           "GHCI: \"TDG.VP.VMCALL<Instruction.RDMSR>\", \"TDG.VP.VMCALL<Instruction.WRMSR>\"; TDX ABI: \"MSR Virtualization\""},
    {"refused-request",       refused_request,       "GHCI: \"TDG.VP.VMCALL Completion Status\""},
    {"refused-tdcall",        refused_tdcall,        "TDX ABI: \"Completion Status\", and the leaf's own section"},
    {"dma-to-private",        dma_to_private,        "GHCI: \"TDG.VP.VMCALL<MapGPA>\"; TDX module base specification: \"TD Shared Memory\""},
    {"dma-to-nowhere",        dma_to_nowhere,        "virtio: \"Virtqueues\": addresses are guest-physical, without the shared bit"},
    {"interrupt-not-taken",   interrupt_not_taken,   "SDM: \"Interrupt Acceptance for Fixed Interrupts\"; GHCI: \"TDG.VP.VMCALL<Instruction.HLT>\""},
    {"masked-interrupt",      masked_pin,            "Intel 82093AA: \"I/O Redirection Table Registers\", interrupt mask"},
    {"sleeps-for-good",       sleeps_for_good,       "SDM: HLT; GHCI: \"TDG.VP.VMCALL<Instruction.HLT>\""},
    {"panic",                 panic,                 ""},
    {"gave-up",               gave_up,               "GHCI: \"TDG.VP.VMCALL<ReportFatalError>\"", true},
    {"triple-fault",          triple_fault,          "SDM: \"Interrupt 8, Double Fault Exception (#DF)\"", true},
    {"no-progress",           no_progress,           "TDX module base specification: \"EPT Violations\"", true},
    {"waits-for-interrupt",   waits_for_interrupt,   "", true},
    {"spins",                 spins,                 "", true},
};
// clang-format on

constexpr std::size_t kShown = 4;

} // namespace

std::string Case::place(u64 gpa) const
{
    const u64 bare = gpa & ~facts.shared_bit;
    const std::string owner = facts.owner ? facts.owner(bare) : "";
    const char* side = facts.shared_bit == 0 ? "" : is_shared(gpa) ? "shared " : "private ";
    return fmt::format("{}guest-physical address {:#x} ({})", side, bare,
                       owner.empty() ? "nothing is there" : owner);
}

std::string Case::code(u64 address) const
{
    const std::string name = facts.symbol ? facts.symbol(address) : "";
    return name.empty() ? fmt::format("{:#x}", address) : fmt::format("{:#x} <{}>", address, name);
}

std::string Case::code(const Instruction& instruction) const
{
    return instruction.text.empty() ? "the code at " + code(instruction.rip)
                                    : fmt::format("`{}` at {}", instruction.text, code(instruction.rip));
}

// Who ended the run is looked at first; in a hang all are, and the same thing is said once.
std::vector<Diagnosis> diagnose(const Facts& facts)
{
    std::vector<Diagnosis> found;
    const bool all = facts.outcome.death == Death::none;
    for (const Row& row : kRows) {
        if (row.last_resort && !found.empty())
            break;
        for (const VcpuFacts& vcpu : facts.vcpus) {
            if (found.size() == kShown || (!all && &vcpu != facts.culprit()))
                continue;
            std::string sentence = row.look({facts, vcpu});
            const bool said =
                std::ranges::any_of(found, [&](const Diagnosis& d) { return d.sentence == sentence; });
            if (!sentence.empty() && !said)
                found.push_back({row.name, std::move(sentence), row.see});
        }
    }
    return found;
}

} // namespace seamless::vmm::report
