// SPDX-License-Identifier: Apache-2.0
// Trace points, out of the way of those who do not trace.
#include "trace/trace.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"

namespace seamless::trace {

Bytes::Bytes(std::span<const u8> from) : size(static_cast<u8>(std::min(from.size(), data.size())))
{
    std::copy_n(from.begin(), size, data.begin());
}

Tracer::Tracer(Sink& sink, u64 (*clock)()) : sink_(&sink), clock_(clock) {}

void Tracer::emit(u32 vcpu, Event event, std::span<const Value> values)
{
    if (!filter_[static_cast<std::size_t>(event)])
        return;
    Record record;
    record.ts = clock_();
    record.vcpu = vcpu;
    record.event = event;
    DCHECK(values.size() <= kMaxFields);
    record.count = static_cast<u8>(values.size());
    std::copy(values.begin(), values.end(), record.values.begin());
    sink_->write(record);
}

} // namespace seamless::trace
