// SPDX-License-Identifier: Apache-2.0
// A ring of VM exits, in which rows of port accesses turn in a smaller one.
#include "platform/exit_history.h"

#include <algorithm>

#include "spec/tdx_abi.h"

namespace seamless::platform {

using spec::ExitReason;
using spec::Gpr;
using trace::Crossing;

namespace {

// The instruction, the reading of its #VE, or the request that follows.
bool is_port_access(const Crossing& c)
{
    constexpr auto kPort = static_cast<u32>(ExitReason::IO_INSTRUCTION);
    if (c.exit_reason == kPort)
        return true;
    if (c.exit_reason != static_cast<u32>(ExitReason::TDCALL))
        return false;
    const u64 leaf = c.at_exit(Gpr::rax) & 0xffff;
    if (leaf == static_cast<u64>(spec::TdgLeaf::VP_VMCALL))
        return c.at_exit(Gpr::r10) == 0 && c.at_exit(Gpr::r11) == kPort;
    return leaf == static_cast<u64>(spec::TdgLeaf::VP_VEINFO_GET) && c.at_entry(Gpr::rcx) == kPort;
}

} // namespace

void ExitHistory::entering(const cpu::Vmcs& vmcs, const cpu::GuestContext& context)
{
    vmcs_ = &vmcs;
    context_ = &context;
    if (count_ == 0)
        return;
    Crossing& last = ring_[at_];
    last.resumed = true;
    last.injected = vmcs.entry_intr_info;
    last.next_rip = vmcs.rip;
    std::copy(std::begin(context.gpr), std::end(context.gpr), last.next_gpr.begin());
    if (is_port_access(last)) {
        if (ports_++ == 0)
            ports_at_ = at_;
        at_ = static_cast<unsigned>((ports_at_ + ports_ % kPortsKept) % kKept);
    } else {
        at_ = (ports_ >= kPortsKept ? ports_at_ + kPortsKept : at_ + 1) % kKept;
        ports_ = 0;
    }
}

void ExitHistory::left(const cpu::Vmcs& vmcs, const cpu::GuestContext& context)
{
    Crossing& now = ring_[at_];
    now.number = ++count_;
    now.exit_reason = vmcs.exit_reason;
    now.instruction_length = vmcs.exit_instruction_len;
    now.qualification = vmcs.exit_qualification;
    now.gla = vmcs.guest_linear_address;
    now.gpa = vmcs.guest_physical_address;
    now.rip = vmcs.rip;
    now.rsp = vmcs.rsp;
    now.rflags = vmcs.rflags;
    now.resumed = false;
    std::copy(std::begin(context.gpr), std::end(context.gpr), now.gpr.begin());
}

std::vector<Crossing> ExitHistory::crossings() const
{
    std::vector<Crossing> list;
    std::ranges::copy_if(ring_, std::back_inserter(list), [](const Crossing& c) { return c.number != 0; });
    std::ranges::sort(list, {}, &Crossing::number);
    return list;
}

} // namespace seamless::platform
