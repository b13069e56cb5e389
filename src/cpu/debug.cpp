// SPDX-License-Identifier: Apache-2.0
// Guests under a debugger: they stop between two instructions, in the middle of what is one VM entry for the
// software above, and go on from there. What waits for the guest meanwhile goes on waiting.
#include "cpu/core.h"

namespace seamless::cpu {

using Reason = DebugStop::Reason;

void Core::enter_debugged(Vmcs& vmcs, GuestContext& context)
{
    do {
        const DebugPort::Run run = debug_port_->before(*this, *this, vmcs, context);
        stop_ = {};
        if (!run.enter) {
            if (give_back(vmcs))
                return debug_port_->after(*this, vmcs, context, stop_);
            stop_.reason = Reason::asked; // nobody wanted it after all
            continue;
        }
        stepping_ = run.step;
        points_ = run.points && !(run.points->breakpoints.empty() && run.points->watches.empty()) ? run.points
                                                                                                  : nullptr;
        mmu_.set_debug_points(points_ && !points_->watches.empty() ? points_ : nullptr);
        engine_->set_debug_points(points_, run.points ? run.points->version : 0);
        if (run.code_changed)
            code_may_have_changed();
        (void)mmu_.take_debug_hit(); // of an instruction that a VM exit cut short
        enter(vmcs, context);
        debug_port_->after(*this, vmcs, context, stop_);
    } while (stop_.reason != Reason::none);
}

// The host interrupts a guest that stands still. An event that waits for injection counts as one whose
// delivery the exit cut short. SDM: "Information for VM Exits During Event Delivery".
bool Core::give_back(Vmcs& v)
{
    using namespace spec;
    vmcs_ = &v;
    __atomic_store_n(&frame_.request, u64{0}, __ATOMIC_SEQ_CST);
    do_maintenance();
    if (take_host_interrupts())
        return false;
    v.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
    v.exit_qualification = v.guest_linear_address = v.guest_physical_address = 0;
    v.instruction_info = 0;
    v.exit_intr_info = intr_info::VALID | intr_info::EXTERNAL | exit_vector_;
    v.idt_vectoring_info = v.entry_intr_info;
    v.idt_vectoring_error_code = v.entry_exception_error_code;
    v.exit_instruction_len = v.entry_instruction_len;
    v.entry_intr_info = 0;
    ++vm_exits_;
    return true;
}

void Core::stop_guest()
{
    stop_asked_.store(true);
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST);
}

bool Core::host_waits() const
{
    for (const std::atomic<u64>& word : interrupts_)
        if (word.load() != 0)
            return true;
    return false;
}

bool Core::at_breakpoint() const
{
    const CpuState& s = frame_.state;
    return points_ &&
           points_->stops_at(s.code64() ? s.rip : static_cast<u32>(s.rip + s.segment(spec::Seg::cs).base));
}

// False: the guest stops here, which is no VM exit.
bool Core::stop_for_debugger(DebugStop stop)
{
    stop_ = stop;
    return false;
}

// As run(), with a look before and behind each block.
void Core::run_debugged()
{
    while (stepping_ ? wait_while_halted()
                     : service_requests() && take_guest_events() && wait_while_halted()) {
        if (!stepping_ && at_breakpoint())
            return (void)stop_for_debugger({.reason = Reason::breakpoint});
        alone_ |= stepping_;
        if (!run_one())
            return;
        if (const std::optional<u64> address = mmu_.take_debug_hit())
            return (void)stop_for_debugger({.reason = Reason::watchpoint, .address = *address});
        if (stepping_)
            return (void)stop_for_debugger({.reason = Reason::stepped});
    }
}

void Mmu::watch_for_debugger(Gva gva, unsigned size, Access access)
{
    if (const DebugPoints::Watch* hit = debug_points_->watched(gva.value(), size, access == Access::write))
        debug_hit_ = std::max(gva.value(), hit->start);
}

void Engine::set_debug_points(const DebugPoints* points, u64 version)
{
    debug_points_ = points;
    if (version == debug_version_)
        return;
    debug_version_ = version;
    for (const u64 page : std::exchange(debug_pages_, {}))
        drop_if(page, [](const Block& block) { return ModeWord::debug_of(block.key); });
    for (unsigned set = 0; set < kTlbSets; ++set) {
        frame_.jumps[set].flush();
        end_far_links(set);
    }
}

} // namespace seamless::cpu
