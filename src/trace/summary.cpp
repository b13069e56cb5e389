// SPDX-License-Identifier: Apache-2.0
// Counts episodes by kind.
#include "trace/summary.h"

#include <algorithm>

namespace seamless::trace {

void Summary::add(const Line& line)
{
    if (events++ == 0)
        first_ts = line.ts;
    first_ts = std::min(first_ts, line.ts);
    last_ts = std::max(last_ts, line.ts);
    finder_.add(line, *this);
}

void Summary::take(const Episode& episode)
{
    if (episode.access)
        accesses[*episode.access].add(episode.ns);
    if (episode.ve)
        ves[*episode.ve].add(episode.ns);
}

} // namespace seamless::trace
