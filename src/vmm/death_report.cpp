// SPDX-License-Identifier: Apache-2.0
// Words for the ways in which a guest dies.
#include "vmm/death_report.h"

#include <algorithm>
#include <fmt/format.h>

namespace seamless::vmm {

using namespace spec::kvm;

namespace {

// Where KVM_SYSTEM_EVENT_TDX_FATAL puts the TD's registers.
enum FatalRegister : unsigned {
    kRcx = 1,
    kRdx = 2,
    kRbx = 3,
    kRsi = 6,
    kRdi = 7,
    kR8 = 8,
    kR9 = 9,
    kR12 = 12,
    kR13 = 13,
    kR14 = 14,
    kR15 = 15
};

struct MessageRegister {
    FatalRegister at;
    unsigned mask_bit; // of RCX, the mask of registers the TD exposed
};

// GHCI: "TDG.VP.VMCALL<ReportFatalError>": the message's bytes, in this order.
constexpr MessageRegister kMessage[] = {{kR14, 14}, {kR15, 15}, {kRbx, 3}, {kRdi, 7},
                                        {kRsi, 6},  {kR8, 8},   {kR9, 9},  {kRdx, 2}};

std::string fatal_message(const u64 (&data)[16])
{
    std::string text;
    for (const MessageRegister& r : kMessage)
        for (unsigned i = 0; i < 8; ++i) {
            const auto c =
                static_cast<char>(test(data[kRcx], r.mask_bit) ? field(data[r.at], i * 8 + 7, i * 8) : 0);
            if (c == 0)
                return text;
            text += c >= ' ' && c <= '~' ? c : '.'; // a terminal must not obey the guest
        }
    return text;
}

std::string_view suberror_words(u32 suberror)
{
    switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        return "the instruction accessed MMIO in a way KVM's emulator does not know";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return "emulation raised one exception after another";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return "an access to MMIO happened while an exception or interrupt was being delivered (its stack, "
               "IDT or GDT lies in MMIO)";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return "the processor left the guest for a reason KVM does not handle";
    default:
        return "of an unknown kind";
    }
}

std::string instruction_bytes(const kvm_run& run)
{
    const auto& e = run.emulation_failure;
    if (e.suberror != KVM_INTERNAL_ERROR_EMULATION || e.ndata < 3 ||
        (e.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) == 0)
        return {};
    const unsigned size = std::min<unsigned>(e.insn_size, sizeof(e.insn_bytes));
    return fmt::format("\n  instruction bytes: {:02x}", fmt::join(e.insn_bytes, e.insn_bytes + size, " "));
}

} // namespace

std::string report_fatal_error(const Vcpu& vcpu)
{
    const auto& event = vcpu.run().system_event;
    std::string text = fmt::format(
        "vCPU {}: the TD gave up: TDG.VP.VMCALL<ReportFatalError>\n  error code {:#x}, message \"{}\"",
        vcpu.index(), event.data[kR12], fatal_message(event.data));
    if (test(event.data[kR12], 63))
        text += fmt::format("\n  further information at shared address {:#x}", event.data[kR13]);
    return text;
}

std::string report_triple_fault(const Vcpu& vcpu)
{
    return fmt::format("vCPU {}: triple fault (KVM_EXIT_SHUTDOWN): an exception occurred while the processor "
                       "was calling the\n"
                       "  double-fault handler; usually the IDT, the stack or the page tables are not what "
                       "the guest believes",
                       vcpu.index());
}

std::string report_internal_error(const Vcpu& vcpu)
{
    const kvm_run& run = vcpu.run();
    const std::size_t count = std::min<std::size_t>(run.internal.ndata, std::size(run.internal.data));
    return fmt::format(
        "vCPU {}: KVM cannot go on (KVM_EXIT_INTERNAL_ERROR, suberror {}): {}{}\n  data: {:#x}", vcpu.index(),
        run.internal.suberror, suberror_words(run.internal.suberror), instruction_bytes(run),
        fmt::join(run.internal.data, run.internal.data + count, " "));
}

std::string report_entry_failure(const Vcpu& vcpu)
{
    return fmt::format(
        "vCPU {}: the processor refused to enter the guest (KVM_EXIT_FAIL_ENTRY, reason {:#x})", vcpu.index(),
        vcpu.run().fail_entry.hardware_entry_failure_reason);
}

std::string report_memory_fault(const Vcpu& vcpu, int error)
{
    const auto& fault = vcpu.run().memory_fault;
    return fmt::format(
        "vCPU {}: a {} access to guest-physical {:#x} (size {:#x}) where the machine has no such memory\n"
        "  (KVM_EXIT_MEMORY_FAULT; converting the range: {})",
        vcpu.index(), fault.flags & KVM_MEMORY_EXIT_FLAG_PRIVATE ? "private" : "shared", fault.gpa,
        fault.size, errno_text(error));
}

std::string report_dead_vm(const Vcpu& vcpu, bool td)
{
    return fmt::format("vCPU {}: KVM has declared the VM dead (KVM_RUN: EIO){}", vcpu.index(),
                       td ? ": the TD did what its host cannot allow,\n  such as using private memory it "
                            "never accepted, or fetching code from shared memory"
                          : "");
}

} // namespace seamless::vmm
