// SPDX-License-Identifier: Apache-2.0
// Builds a host from the bottom up.
#include "platform/platform.h"

#include <ctime>

#include "platform/host_clock.h"
#include "tdx/module.h"

namespace seamless::platform {

namespace {

// Trace times count from the first look at the clock.
u64 trace_clock()
{
    static const u64 start = host_monotonic_ns();
    return host_monotonic_ns() - start;
}

} // namespace

Platform::~Platform() = default;

cpu::SeamPort* Platform::seam() { return seam_.get(); }

Result<std::unique_ptr<Platform>, Message> Platform::create(const Parameters& parameters)
{
    if (parameters.logical_processors == 0 || !parameters.make_lp)
        return fail(
            Message{"platform: a host needs at least one logical processor, and something that makes them"});
    std::unique_ptr<Platform> p(new Platform);
    p->memory_ = TRY(mem::HostMemory::create(parameters.memory_bytes));
    base::Clock* clock = parameters.clock;
    if (!clock)
        clock = (p->own_clock_ = std::make_unique<HostClock>()).get();
    base::Random* random = parameters.random;
    if (!random)
        random = (p->own_random_ = std::make_unique<HostRandom>()).get();
    p->tracer_ = parameters.trace_sink ? std::make_unique<trace::Tracer>(*parameters.trace_sink, trace_clock)
                                       : std::make_unique<trace::Tracer>();
    p->tracer_->set_filter(parameters.trace_events);
    p->package_ = std::make_unique<cpu::Package>(parameters.logical_processors, parameters.make_lp,
                                                 *p->memory_, *clock, *random, *p->tracer_);
    if (parameters.tdx)
        p->seam_ = std::make_unique<tdx::TdxModule>(*p->package_, *p->memory_, *clock, *random,
                                                    parameters.report_key);
    p->kvm_ = std::make_unique<kvm::Kvm>(*p->package_, p->seam_.get(), parameters.ops);
    if (parameters.tdx)
        TRY(p->kvm_->enable_tdx());
    return p;
}

} // namespace seamless::platform
