// SPDX-License-Identifier: Apache-2.0
// Attributes as a step function over frame numbers: guests convert large ranges, so steps are few.
#include "kvm/memory_attributes.h"

#include <iterator>

namespace seamless::kvm {

u64 MemoryAttributes::get(Gfn gfn) const
{
    const auto after = changes_.upper_bound(gfn.value());
    return after == changes_.begin() ? 0 : std::prev(after)->second;
}

bool MemoryAttributes::range_has(Gfn start, Gfn end, u64 attributes) const
{
    if (get(start) != attributes)
        return false;
    for (auto it = changes_.upper_bound(start.value()); it != changes_.end() && it->first < end.value(); ++it)
        if (it->second != attributes)
            return false;
    return true;
}

void MemoryAttributes::set(Gfn start, Gfn end, u64 attributes)
{
    const u64 after = get(end);
    changes_.erase(changes_.lower_bound(start.value()), changes_.lower_bound(end.value()));
    changes_[end.value()] = after;
    changes_[start.value()] = attributes;
    // Steps that do not change anything would make the map grow with every conversion back and forth.
    for (const u64 key : {end.value(), start.value()}) {
        const auto it = changes_.find(key);
        const u64 before = it == changes_.begin() ? 0 : std::prev(it)->second;
        if (it->second == before)
            changes_.erase(it);
    }
}

} // namespace seamless::kvm
