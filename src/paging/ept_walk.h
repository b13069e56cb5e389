// SPDX-License-Identifier: Apache-2.0
// The EPT walk. SDM: "EPT Translation Mechanism", "EPT Violations", "EPT Misconfigurations". It knows roots
// and entries only: no memslots, no MMIO, no kinds of VM. Bit 63 of the entry that ended the walk is reported
// as found.
#pragma once

#include "base/address.h"
#include "spec/ept.h"

namespace seamless::paging {

enum class Access : u8 { read, write, fetch };

struct EptRoot {
    Hpa table;           // the top table, key id ignored
    unsigned levels = 4; // 4 or 5
    u64 shared_bit = 0;  // mask of the GPA bit that selects the shared root; 0 outside TDs
    Hpa shared_table;    // the top table for GPAs with that bit set
    bool accessed_dirty = false;
};

struct EptWalk {
    enum class Outcome : u8 { ok, violation, misconfig };

    Outcome outcome = Outcome::violation;
    unsigned level = 0;  // of the entry that ended the walk; 0 = 4 KiB
    u64 permissions = 0; // R, W, X (ept::RWX) that all entries of the walk allow
    u64 entry = 0;       // the entry that ended the walk
    Hpa hpa;             // of `gpa` itself; ok only
    Hpa entry_hpa;       // where that entry is
    bool shared = false; // walked through the shared root

    [[nodiscard]] bool suppress_ve() const { return entry & spec::ept::SUPPRESS_VE; }
};

// Translates `gpa` for `access`.
[[nodiscard]] EptWalk walk_ept(const EptRoot& root, Gpa gpa, Access access);

} // namespace seamless::paging
