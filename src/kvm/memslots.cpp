// SPDX-License-Identifier: Apache-2.0
// Two indexes over the slots of a VM: by id for the ioctl, by first frame for faults.
#include "kvm/memslots.h"

#include <iterator>

namespace seamless::kvm {

const Memslot* Memslots::find(Gfn gfn) const
{
    const auto after = by_gfn_.upper_bound(gfn.value());
    if (after == by_gfn_.begin())
        return nullptr;
    const Memslot* slot = std::prev(after)->second;
    return slot->contains(gfn) ? slot : nullptr;
}

Memslot* Memslots::by_id(u32 id)
{
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second.get();
}

bool Memslots::overlaps(Gfn base, u64 npages, u32 except) const
{
    for (const auto& [id, slot] : by_id_)
        if (id != except && base.value() < slot->base.value() + slot->npages &&
            slot->base.value() < base.value() + npages)
            return true;
    return false;
}

Memslot& Memslots::insert(std::unique_ptr<Memslot> slot)
{
    Memslot& inserted = *slot;
    by_gfn_[inserted.base.value()] = &inserted;
    by_id_[inserted.id] = std::move(slot);
    return inserted;
}

std::unique_ptr<Memslot> Memslots::take(u32 id)
{
    auto node = by_id_.extract(id);
    if (node.empty())
        return nullptr;
    by_gfn_.erase(node.mapped()->base.value());
    return std::move(node.mapped());
}

std::vector<u32> Memslots::ids() const
{
    std::vector<u32> all;
    for (const auto& [id, slot] : by_id_)
        all.push_back(id);
    return all;
}

} // namespace seamless::kvm
