// SPDX-License-Identifier: Apache-2.0
// Lends logical processors to host threads.
#include "cpu/package.h"

#include <algorithm>

namespace seamless::cpu {

Package::Package(unsigned logical_processors, const LpFactory& make_lp, mem::HostMemory& memory,
                 base::Clock& clock, base::Random& random, trace::Tracer& tracer)
    : memory_(memory), clock_(clock), random_(random), tracer_(tracer), taken_(logical_processors)
{
    for (unsigned id = 0; id < logical_processors; ++id)
        lps_.push_back(make_lp(*this, id));
}

Package::~Package() = default;

// DEVIATION: when all processors are taken, the thread waits until a KVM_RUN ends; a kernel would share them
// by preemption.
LogicalProcessor& Package::acquire(unsigned hint)
{
    std::unique_lock lock(mutex_);
    for (;;) {
        if (hint < taken_.size() && !taken_[hint]) {
            taken_[hint] = true;
            return *lps_[hint];
        }
        const auto free = std::find(taken_.begin(), taken_.end(), false);
        if (free != taken_.end()) {
            *free = true;
            return *lps_[static_cast<std::size_t>(free - taken_.begin())];
        }
        released_.wait(lock);
    }
}

void Package::release(LogicalProcessor& lp)
{
    lp.trace = {};
    const std::lock_guard lock(mutex_);
    taken_[lp.id()] = false;
    released_.notify_one();
}

} // namespace seamless::cpu
