// SPDX-License-Identifier: Apache-2.0
// States, walk and entry locks of the secure EPT.
#include "tdx/sept.h"

namespace seamless::tdx::sept {

using namespace spec;

namespace {

// clang-format off
struct StateRow { SeptState state; u64 bits; };
constexpr StateRow kStates[] = {
    {SeptState::FREE,            TDB | TDBW | TDEX},
    {SeptState::REMOVED,         TDB | TDBW},
    {SeptState::NL_MAPPED,       0},
    {SeptState::NL_BLOCKED,      TDB},
    {SeptState::MAPPED,          ept::LEAF | ept::IPAT},
    {SeptState::BLOCKED,         ept::LEAF | ept::IPAT | TDB},
    {SeptState::PENDING,         ept::LEAF | ept::IPAT | TDP},
    {SeptState::PENDING_BLOCKED, ept::LEAF | ept::IPAT | TDP | TDB},
};
// clang-format on

} // namespace

SeptState state_of(u64 entry)
{
    for (const StateRow& row : kStates)
        if ((entry & kStateBits) == row.bits)
            return row.state;
    return SeptState::FREE; // no other combination is ever written
}

u64 make(Hpa hpa, SeptState state)
{
    u64 entry = hpa.value() & ept::ADDRESS;
    for (const StateRow& row : kStates)
        if (row.state == state)
            entry |= row.bits;
    if (state == SeptState::MAPPED || state == SeptState::NL_MAPPED)
        entry |= ept::RWX;
    if (is_leaf(state))
        entry |= kLeaf;
    return entry | ept::SUPPRESS_VE;
}

Position walk(const Td& td, u64 gpa, unsigned level)
{
    Position at;
    Hpa table = td.sept_root();
    for (at.level = td.ept_levels() - 1;; --at.level) {
        at.where = table + u64{ept::index(gpa, at.level)} * sizeof(u64);
        at.entry = mem::load<u64>(at.where);
        if (at.level == level) {
            at.reached = true;
            return at;
        }
        if (at.state() != SeptState::NL_MAPPED)
            return at;
        table = mem::without_hkid(target(at.entry));
    }
}

u64 host_view(u64 entry)
{
    if (!is_leaf(state_of(entry)))
        return entry & (ept::RWX | ept::XU | ept::LEAF);
    const u64 hpa = mem::without_hkid(target(entry)).value();
    return (entry & (ept::RWX | ept::XU | ept::MEMTYPE | ept::IPAT | ept::LEAF | ept::SUPPRESS_VE)) | hpa;
}

u64 host_info(const Position& at) { return at.level | u64{static_cast<u8>(at.state())} << 8; }

EntryLock::EntryLock(Position& at) : at_(at)
{
    u64 expected = at.entry;
    held_ = !(expected & LOCK) && mem::compare_exchange(at.where, expected, at.entry | LOCK);
    if (!held_)
        at_.entry = expected & ~LOCK;
}

EntryLock::~EntryLock()
{
    if (held_)
        mem::store(at_.where, at_.entry);
}

void EntryLock::commit(u64 entry)
{
    __atomic_store_n(mem::host_ptr<u64>(at_.where), entry, __ATOMIC_SEQ_CST);
    at_.entry = entry;
    held_ = false;
}

void EntryLock::store_locked(u64 entry)
{
    __atomic_store_n(mem::host_ptr<u64>(at_.where), entry | LOCK, __ATOMIC_SEQ_CST);
    at_.entry = entry;
}

void fill_free(Hpa page)
{
    for (unsigned i = 0; i < ept::kEntriesPerTable; ++i)
        mem::store(page + i * sizeof(u64), kFree);
}

bool all_free(Hpa page)
{
    for (unsigned i = 0; i < ept::kEntriesPerTable; ++i)
        if (state_of(mem::load<u64>(page + i * sizeof(u64))) != SeptState::FREE)
            return false;
    return true;
}

} // namespace seamless::tdx::sept
