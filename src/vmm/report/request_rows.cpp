// SPDX-License-Identifier: Apache-2.0
// Causes that have to do with what the guest asked for and did not get, and with what it says itself.
#include <algorithm>
#include <fmt/format.h>

#include "spec/tdx_abi.h"
#include "vmm/report/diagnosis.h"
#include "vmm/report/history.h"

namespace seamless::vmm::report {

using spec::ExitReason;
using spec::Tdvmcall;

namespace {

// A refusal that the guest lived with for longer has not killed it. Port accesses are its last words.
constexpr unsigned kRecent = 8;
constexpr u8 kGeneralProtection = 13;

bool is_port_access(const Event& e)
{
    constexpr auto kPort = static_cast<u32>(ExitReason::IO_INSTRUCTION);
    if (e.kind == Event::Kind::tdvmcall)
        return !e.vendor && e.leaf == kPort;
    return (e.kind == Event::Kind::ve || e.kind == Event::Kind::exit) && (e.reason & 0xffff) == kPort;
}

// The last of the recent events that `which` wants, or nullptr. A guest that ran on has forgotten it.
template <typename Which>
const Event* recent(const Case& c, const Which& which)
{
    if (c.hangs() && c.facts.panic.empty())
        return nullptr;
    unsigned looked = 0;
    for (auto e = c.vcpu.events.rbegin(); e != c.vcpu.events.rend() && looked < kRecent; ++e) {
        if (is_port_access(*e))
            continue;
        if (which(*e))
            return &*e;
        ++looked;
    }
    return nullptr;
}

bool is_msr_request(const Event& e)
{
    return e.kind == Event::Kind::tdvmcall && !e.vendor &&
           (e.leaf == static_cast<u64>(Tdvmcall::INSTRUCTION_RDMSR) ||
            e.leaf == static_cast<u64>(Tdvmcall::INSTRUCTION_WRMSR));
}

bool host_refused(const Event& e) { return e.answered && test(e.status, 63); }

// The instruction that the guest's #VE stands for is in the exit before the request.
u64 rip_of_msr_exit(const Case& c, const Event& request)
{
    u64 rip = 0;
    for (const Event& e : c.vcpu.events)
        if (e.number < request.number && e.kind == Event::Kind::exit && (e.reason & 0xffff) == request.leaf)
            rip = e.rip;
    return rip;
}

} // namespace

std::string refused_msr(const Case& c)
{
    const Event* e = recent(c, [](const Event& at) {
        const bool msr =
            at.kind == Event::Kind::exit && ((at.reason & 0xffff) == static_cast<u32>(ExitReason::MSR_READ) ||
                                             (at.reason & 0xffff) == static_cast<u32>(ExitReason::MSR_WRITE));
        return (is_msr_request(at) && host_refused(at)) || (msr && at.injected == kGeneralProtection);
    });
    if (e == nullptr)
        return {};
    if (e->kind == Event::Kind::exit)
        return fmt::format(
            "The TDX module refused {} of MSR {:#x} at {} with #GP: a TD has no such MSR, or not "
            "this value of it",
            (e->reason & 0xffff) == static_cast<u32>(ExitReason::MSR_READ) ? "RDMSR" : "WRMSR",
            e->operands[1] & 0xffffffff, c.code(e->rip));
    const u64 rip = rip_of_msr_exit(c, *e);
    return fmt::format(
        "The host refused {} of MSR {:#x}{}: it answered TDG.VP.VMCALL<{}> with "
        "TDG.VP.VMCALL_INVALID_OPERAND. The MSR is one that neither the TDX module nor KVM gives a "
        "TD; the #VE handler must expect the refusal, as RDMSR's #GP elsewhere",
        e->leaf == static_cast<u64>(Tdvmcall::INSTRUCTION_RDMSR) ? "RDMSR" : "WRMSR", e->operands[0],
        rip != 0 ? " at " + c.code(rip) : "", tdvmcall_name(e->leaf));
}

std::string refused_request(const Case& c)
{
    const Event* e = recent(c, [](const Event& at) {
        return at.kind == Event::Kind::tdvmcall && !at.vendor && host_refused(at) && !is_msr_request(at);
    });
    if (e == nullptr)
        return {};
    return "The host refused a request, and the guest went no further: " + words_of(*e, c.facts.shared_bit);
}

std::string refused_tdcall(const Case& c)
{
    const Event* e = recent(c, [](const Event& at) {
        return at.kind == Event::Kind::tdcall && at.answered && test(at.status, 63);
    });
    if (e == nullptr)
        return {};
    const char* name = spec::tdx_status_name(e->status);
    return fmt::format("The TDX module refused a TDCALL, and the guest went no further: {} ({})",
                       words_of(*e, c.facts.shared_bit), name);
}

std::string panic(const Case& c)
{
    if (c.facts.panic.empty())
        return {};
    return fmt::format("The guest's kernel panicked and says why on its console: \"{}\"", c.facts.panic);
}

std::string gave_up(const Case& c)
{
    if (!c.died(Death::fatal_error))
        return {};
    return "The guest ended itself by TDG.VP.VMCALL<ReportFatalError>; its message is above";
}

} // namespace seamless::vmm::report
