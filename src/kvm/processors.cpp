// SPDX-License-Identifier: Apache-2.0
// Calls travel through a queue per processor; its owner serves it at each exit, or whoever finds it idle
// does.
#include "kvm/processors.h"

namespace seamless::kvm {

namespace {

// Which processor a thread runs on is the thread's own property, as in a kernel; no thread has two.
thread_local cpu::LogicalProcessor* current = nullptr;

} // namespace

cpu::LogicalProcessor* Processors::this_cpu() const
{
    return current && &current->package() == &package_ ? current : nullptr;
}

void Processors::on_some_cpu(const Call& call)
{
    if (cpu::LogicalProcessor* lp = this_cpu())
        return call(*lp);
    LoadedLp lp(*this, kAny);
    call(*lp);
}

Processors::Processors(cpu::Package& package) : package_(package), slots_(package.count()) {}

cpu::LogicalProcessor& Processors::load(unsigned hint)
{
    // Temporary borrowers stay away from the low numbers, which vCPUs prefer.
    if (hint == kAny)
        hint = package_.count() - 1;
    cpu::LogicalProcessor& lp = package_.acquire(hint);
    if (Slot& slot = slots_[lp.id()]; !change(slot, State::idle, State::loaded)) [[unlikely]] {
        const std::lock_guard lock(mutex_); // the call that runs here now ends first
        slot.state.store(State::loaded);
    }
    current = &lp;
    return lp;
}

void Processors::put(cpu::LogicalProcessor& lp)
{
    if (Slot& slot = slots_[lp.id()]; !change(slot, State::loaded, State::idle)) [[unlikely]] {
        const std::lock_guard lock(mutex_);
        serve_locked(lp);
        slot.state.store(State::idle);
    }
    current = nullptr;
    package_.release(lp);
}

void Processors::serve_locked(cpu::LogicalProcessor& lp)
{
    Slot& slot = slots_[lp.id()];
    if (slot.calls.empty())
        return;
    for (Pending* pending : slot.calls) {
        (*pending->call)(lp);
        pending->done = true;
    }
    slot.calls.clear();
    slot.state.store(State::loaded);
    served_.notify_all();
}

void Processors::serve_calls(cpu::LogicalProcessor& lp)
{
    const std::lock_guard lock(mutex_);
    serve_locked(lp);
}

void Processors::call_on(unsigned id, const Call& call, cpu::LogicalProcessor* mine)
{
    std::unique_lock lock(mutex_);
    cpu::LogicalProcessor& lp = package_.lp(id);
    if (&lp == mine)
        return call(lp);
    Slot& slot = slots_[id];
    // Its owner may come and go while this thread looks.
    while (!change(slot, State::loaded, State::called) && slot.state.load() != State::called)
        if (change(slot, State::idle, State::busy)) {
            call(lp);
            slot.state.store(State::idle);
            return;
        }
    Pending pending{&call};
    slot.calls.push_back(&pending);
    lp.send_interrupt(kCallVector);
    served_.notify_all(); // the owner may itself be waiting for a call
    while (!pending.done) {
        if (mine)
            serve_locked(*mine);
        if (!pending.done)
            served_.wait(lock);
    }
}

} // namespace seamless::kvm
