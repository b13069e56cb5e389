// SPDX-License-Identifier: Apache-2.0
// The secure EPT: entries with the module's state bits in real pages, which the processor walks as it walks
// any EPT. TDX ABI: "Secure EPT Entry", "Secure EPT Entry State Diagram".
#pragma once

#include "mem/guest_access.h"
#include "spec/ept.h"
#include "tdx/td.h"

namespace seamless::tdx::sept {

using spec::SeptState;

// Software bits of an entry; hardware ignores them while R, W and X are clear or below a table entry.
inline constexpr u64 LOCK = bit(11), TDEX = bit(53), TDBW = bit(54), TDB = bit(55), TDP = bit(56);
inline constexpr u64 kStateBits = spec::ept::LEAF | spec::ept::IPAT | TDP | TDB | TDBW | TDEX;
inline constexpr u64 kFree = TDB | TDBW | TDEX | spec::ept::SUPPRESS_VE;
inline constexpr u64 kLeaf =
    spec::ept::LEAF | spec::ept::IPAT | spec::ept::MEMTYPE_WB << 3 | spec::ept::SUPPRESS_VE;

[[nodiscard]] SeptState state_of(u64 entry);
[[nodiscard]] constexpr bool is_leaf(SeptState s)
{
    return s == SeptState::MAPPED || s == SeptState::BLOCKED || s == SeptState::PENDING ||
           s == SeptState::PENDING_BLOCKED;
}
[[nodiscard]] constexpr bool is_blocked(SeptState s)
{
    return s == SeptState::BLOCKED || s == SeptState::PENDING_BLOCKED || s == SeptState::NL_BLOCKED;
}
// The entry for `hpa` (key id included) in a leaf or table state.
[[nodiscard]] u64 make(Hpa hpa, SeptState state);
[[nodiscard]] inline Hpa target(u64 entry) { return Hpa(entry & spec::ept::ADDRESS); }

// Where a walk for `level` ended: at that level, or above it at an entry that is no mapped table.
struct Position {
    Hpa where; // of the entry
    u64 entry = 0;
    unsigned level = 0;
    bool reached = false;

    [[nodiscard]] SeptState state() const { return state_of(entry); }
};
[[nodiscard]] Position walk(const Td& td, u64 gpa, unsigned level);

// Two words that describe an entry to the host.
[[nodiscard]] u64 host_view(u64 entry);
[[nodiscard]] u64 host_info(const Position& at);

// The lock bit of one entry, for as long as this lives. The entry must not have changed since it was walked.
class EntryLock {
  public:
    explicit EntryLock(Position& at);
    ~EntryLock();
    EntryLock(const EntryLock&) = delete;
    EntryLock& operator=(const EntryLock&) = delete;

    explicit operator bool() const { return held_; }
    // Writes the entry and gives the lock back, in one store.
    void commit(u64 entry);
    // Writes the entry and keeps the lock.
    void store_locked(u64 entry);

  private:
    Position& at_;
    bool held_ = false;
};

void fill_free(Hpa page);
[[nodiscard]] bool all_free(Hpa page);

} // namespace seamless::tdx::sept
