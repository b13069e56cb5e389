// SPDX-License-Identifier: Apache-2.0
// The guest's own page walk, nested in EPT. SDM: "Paging". Covers 32-bit, PAE, 4-level and 5-level paging;
// sets accessed and dirty flags atomically; reports faults as #PF error codes or as the EPT walk that failed.
#pragma once

#include "base/address.h"
#include "paging/ept_walk.h"
#include "paging/gpa_cache.h"

namespace seamless::paging {

enum class PagingMode : u8 { none, bits32, pae, level4, level5 };

// What the control registers say about paging.
struct GuestPaging {
    PagingMode mode = PagingMode::none;
    u64 cr3 = 0;
    bool wp = false;
    bool nxe = false;
    bool smep = false;
    bool smap = false;
    bool pse = false;        // 32-bit paging only
    unsigned gpa_width = 52; // PTE address bits above are reserved

    friend bool operator==(const GuestPaging&, const GuestPaging&) = default;
};

struct GuestWalk {
    // host_fault: the host has taken away the memory that holds an entry.
    enum class Outcome : u8 { ok, page_fault, ept_fault, host_fault };

    Outcome outcome = Outcome::page_fault;
    Gpa gpa;  // ok: of the address itself. ept_fault: whose EPT walk failed. host_fault: of the entry
    Hpa host; // host_fault: where the entry was
    u32 error_code = 0;      // page_fault: #PF error code
    unsigned level = 0;      // of the leaf
    bool user = false;       // all entries have U/S set
    bool writable = false;   // all entries have R/W set
    bool executable = false; // no entry has XD set
    bool dirty = false;
    bool global = false;
    EptWalk ept;         // ept_fault: the walk that failed
    Access ept_access{}; // ept_fault, host_fault: the access that failed
};

// The entries that a walk has read last, from the top: as long as they lead there, and EPT leads to them, the
// walk would end the same.
struct GuestPath {
    struct Step {
        Hpa at;
        u64 entry = 0;
    };
    static constexpr unsigned kMost = 5;
    Step steps[kMost];
    unsigned count = 0;
    unsigned entry_size = 8;
};

// What is to be kept of a walk, where it is wanted.
struct WalkNotes {
    GuestPath* path = nullptr;
    GpaCache* tables = nullptr; // knows where EPT has the tables, too
};

// Translates `gva` for an access at user or supervisor privilege. `allow_user` is false where SMAP forbids
// supervisor access to user pages now (CR4.SMAP with AC clear, or an implicit access).
[[nodiscard]] GuestWalk walk_guest(const GuestPaging& paging, const EptRoot& ept, Gva gva, Access access,
                                   bool user_mode, bool allow_user, const WalkNotes& notes = {});
// Whether these entries are there and as they were.
[[nodiscard]] bool unchanged(const GuestPath& path);

} // namespace seamless::paging
