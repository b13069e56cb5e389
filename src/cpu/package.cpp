// SPDX-License-Identifier: Apache-2.0
// Lends logical processors to host threads.
#include "cpu/package.h"

namespace seamless::cpu {

Package::Package(unsigned logical_processors, const LpFactory& make_lp, mem::HostMemory& memory,
                 base::Clock& clock, base::Random& random, trace::Tracer& tracer)
    : memory_(memory), clock_(clock), random_(random), tracer_(tracer), taken_(logical_processors)
{
    for (unsigned id = 0; id < logical_processors; ++id)
        lps_.push_back(make_lp(*this, id));
}

Package::~Package() = default;

bool Package::take(unsigned id)
{
    return !taken_[id].load(std::memory_order_relaxed) && !taken_[id].exchange(true);
}

LogicalProcessor* Package::take_any()
{
    for (unsigned id = 0; id < count(); ++id)
        if (take(id))
            return lps_[id].get();
    return nullptr;
}

// DEVIATION: when all processors are taken, the thread waits until a KVM_RUN ends; a kernel would share them
// by preemption.
LogicalProcessor& Package::acquire(unsigned hint)
{
    if (hint < count() && take(hint)) [[likely]]
        return *lps_[hint];
    if (LogicalProcessor* lp = take_any())
        return *lp;
    std::unique_lock lock(mutex_);
    ++waiting_; // before the look: who releases one then tells
    LogicalProcessor* lp = nullptr;
    released_.wait(lock, [&] { return (lp = take_any()) != nullptr; });
    --waiting_;
    return *lp;
}

void Package::release(LogicalProcessor& lp)
{
    lp.trace = {};
    taken_[lp.id()].store(false);
    if (waiting_.load() == 0) [[likely]]
        return;
    const std::lock_guard lock(mutex_);
    released_.notify_one();
}

} // namespace seamless::cpu
