// SPDX-License-Identifier: Apache-2.0
// A logical processor in front of another, which compares the guest's state before and after each VM entry.
#include "platform/stall_watch.h"

#include <algorithm>
#include <cstring>

namespace seamless::platform {
namespace {

bool is_ept_fault(u32 reason)
{
    return reason == static_cast<u32>(spec::ExitReason::EPT_VIOLATION) ||
           reason == static_cast<u32>(spec::ExitReason::EPT_MISCONFIG);
}

// What interrupts a guest between instructions says nothing about its progress.
bool says_nothing(u32 reason) { return reason == static_cast<u32>(spec::ExitReason::EXTERNAL_INTERRUPT); }

StallWatch::GuestState state_of(const cpu::Vmcs& vmcs, const cpu::GuestContext& context)
{
    StallWatch::GuestState state{vmcs.rip, vmcs.rsp, vmcs.rflags};
    std::copy(std::begin(context.gpr), std::end(context.gpr), state.begin() + 3);
    return state;
}

bool same(const StallWatch::GuestState& a, const StallWatch::GuestState& b)
{
    return std::memcmp(a.data(), b.data(), sizeof a) == 0;
}

} // namespace

class StallWatch::Watched : public cpu::LogicalProcessor {
  public:
    Watched(StallWatch& watch, std::unique_ptr<cpu::LogicalProcessor> inner)
        : LogicalProcessor(inner->package(), inner->id()), watch_(watch), inner_(std::move(inner))
    {}

    void vm_enter(cpu::Vmcs& vmcs, cpu::GuestContext& context) override
    {
        inner_->trace = trace;
        const GuestState before = state_of(vmcs, context);
        ExitHistory& history = watch_.noted(trace.vcpu);
        history.entering(vmcs, context);
        inner_->vm_enter(vmcs, context);
        history.left(vmcs, context);
        if (!is_ept_fault(vmcs.exit_reason) && !says_nothing(vmcs.exit_reason)) [[likely]]
            return note(false, nullptr, vmcs); // whatever became of the guest, it is not such a fault again
        const GuestState after = state_of(vmcs, context);
        note(same(before, after), is_ept_fault(vmcs.exit_reason) ? &after : nullptr, vmcs);
    }
    void invept_single(u64 eptp) override { inner_->invept_single(eptp); }
    void invept_all() override { inner_->invept_all(); }
    void invvpid(u16 vpid) override { inner_->invvpid(vpid); }
    void code_may_have_changed() override { inner_->code_may_have_changed(); }
    void send_interrupt(u8 vector) override { inner_->send_interrupt(vector); }
    bool acknowledge_interrupts() override { return inner_->acknowledge_interrupts(); }
    [[nodiscard]] std::optional<u64> take_host_fault() override { return inner_->take_host_fault(); }
    [[nodiscard]] Counters counters() const override { return inner_->counters(); }

  private:
    // `state`, of EPT faults, tells a guest that stands still from one that KVM moves by emulating its
    // instructions.
    void note(bool unchanged, const GuestState* state, const cpu::Vmcs& vmcs)
    {
        Record& record = watch_.record(trace.vcpu);
        constexpr auto relaxed = std::memory_order_relaxed;
        if (unchanged && says_nothing(vmcs.exit_reason))
            return;
        const bool again = unchanged && state && record.faulted && same(record.state, *state) &&
                           record.gpa.load(relaxed) == vmcs.guest_physical_address &&
                           record.reason.load(relaxed) == vmcs.exit_reason;
        record.faulted = state != nullptr;
        if (state && !again)
            record.state = *state;
        record.rip.store(vmcs.rip, relaxed);
        record.gpa.store(vmcs.guest_physical_address, relaxed);
        record.reason.store(vmcs.exit_reason, relaxed);
        record.fruitless.store(again ? record.fruitless.load(relaxed) + 1 : 0, relaxed);
    }

    StallWatch& watch_;
    std::unique_ptr<cpu::LogicalProcessor> inner_;
};

cpu::LpFactory StallWatch::watch(cpu::LpFactory inner)
{
    return [this, inner = std::move(inner)](cpu::Package& package,
                                            unsigned id) -> std::unique_ptr<cpu::LogicalProcessor> {
        return std::make_unique<Watched>(*this, inner(package, id));
    };
}

ExitHistory& StallWatch::noted(u32 vcpu)
{
    std::unique_ptr<ExitHistory>& history = histories_[vcpu % kVcpus];
    if (!history) [[unlikely]]
        history = std::make_unique<ExitHistory>();
    return *history;
}

void StallWatch::forget()
{
    for (std::unique_ptr<ExitHistory>& history : histories_)
        history.reset();
}

StallWatch::Stall StallWatch::stall(u32 vcpu) const
{
    const Record& record = records_[vcpu % kVcpus];
    constexpr auto relaxed = std::memory_order_relaxed;
    return {record.fruitless.load(relaxed), record.rip.load(relaxed), record.gpa.load(relaxed),
            record.reason.load(relaxed)};
}

} // namespace seamless::platform
