// SPDX-License-Identifier: Apache-2.0
// Walks EPT tables from the root that the GPA selects, down to the leaf or to the entry that stops it.
#include "paging/ept_walk.h"

#include "mem/guest_access.h"

namespace seamless::paging {
namespace {

using namespace spec;

constexpr u64 required(Access access)
{
    switch (access) {
    case Access::read:
        return ept::R;
    case Access::write:
        return ept::W;
    case Access::fetch:
        return ept::X;
    }
    return ept::RWX;
}

constexpr bool memory_type_valid(u64 entry)
{
    const u64 type = field(entry, 5, 3);
    return type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
}

// SDM: "EPT Misconfigurations". Applies to entries with any of R, W, X set. Execute-only entries are legal
// here.
bool misconfigured(u64 entry, unsigned level)
{
    if ((entry & ept::RWX) == 0)
        return false;
    if ((entry & ept::W) && !(entry & ept::R))
        return true;
    const bool leaf = level == 0 || (entry & ept::LEAF);
    if (!leaf)
        return field(entry, 6, 3) != 0;
    if (level > 2)
        return true; // bit 7 is reserved there
    if (level > 0 && (entry & (ept::level_size(level) - 1) & ept::ADDRESS) != 0)
        return true;
    return !memory_type_valid(entry);
}

void set_accessed(Hpa entry_hpa, u64& entry, u64 flags)
{
    while ((entry & flags) != flags)
        if (mem::compare_exchange(entry_hpa, entry, entry | flags))
            entry |= flags;
}

} // namespace

EptWalk walk_ept(const EptRoot& root, Gpa gpa, Access access)
{
    EptWalk walk;
    walk.shared = (gpa.value() & root.shared_bit) != 0;
    walk.permissions = ept::RWX;
    Hpa table = walk.shared ? root.shared_table : root.table;
    for (unsigned level = root.levels - 1;; --level) {
        walk.level = level;
        walk.entry_hpa = table + u64{ept::index(gpa.value(), level)} * sizeof(u64);
        walk.entry = mem::load<u64>(walk.entry_hpa);
        if (misconfigured(walk.entry, level)) {
            walk.outcome = EptWalk::Outcome::misconfig;
            return walk;
        }
        walk.permissions &= walk.entry;
        if ((walk.entry & ept::RWX) == 0)
            return walk; // not present: a violation
        const bool leaf = level == 0 || (walk.entry & ept::LEAF);
        if (!leaf) {
            if (root.accessed_dirty)
                set_accessed(walk.entry_hpa, walk.entry, ept::A);
            table = Hpa(walk.entry & ept::ADDRESS);
            continue;
        }
        if (!(walk.permissions & required(access)))
            return walk;
        if (root.accessed_dirty)
            set_accessed(walk.entry_hpa, walk.entry, access == Access::write ? ept::A | ept::D : ept::A);
        walk.outcome = EptWalk::Outcome::ok;
        walk.hpa = Hpa((walk.entry & ept::ADDRESS & ~(ept::level_size(level) - 1)) |
                       (gpa.value() & (ept::level_size(level) - 1)));
        return walk;
    }
}

} // namespace seamless::paging
