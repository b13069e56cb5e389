// SPDX-License-Identifier: Apache-2.0
// The physical-address metadata table: who owns each page of the arena, and as what. A radix table made on
// demand stands for the PAMT areas that the host donates. TDX ABI: "Physical Page Attributes Table (PAMT)".
#pragma once

#include <atomic>
#include <memory>

#include "base/address.h"
#include "spec/tdx_abi.h"
#include "tdx/try_lock.h"

namespace seamless::tdx {

struct PamtEntry {
    TryLock lock; // guards the rest, and what `object` points to
    std::atomic<spec::TdxPageType> type = spec::TdxPageType::NDA;
    Hpa owner;                   // of the TDR; the TDR page owns itself
    std::atomic<u64> bepoch = 0; // TD_EPOCH when the page was blocked
    void* object = nullptr;      // the Td of a TDR page, the Vcpu of a TDVPR page
};

// A page found, with its entry locked.
struct LockedPage {
    Held block; // the 2 MiB entry above a 4 KiB page, shared
    Held page;
    PamtEntry* entry = nullptr;
    Hpa hpa;
    unsigned level = 0;
};

class Pamt {
  public:
    Pamt(Hpa base, u64 size);
    ~Pamt();
    Pamt(const Pamt&) = delete;
    Pamt& operator=(const Pamt&) = delete;

    // Locks the entry of the page at `hpa` (inside the arena); entry is null if it is busy. A 4 KiB page
    // inside a 2 MiB page in use resolves to the 2 MiB entry.
    [[nodiscard]] LockedPage lock(Hpa hpa, unsigned level, LockMode mode);
    // Whether some 4 KiB page of the 2 MiB block at `hpa` is in use.
    [[nodiscard]] bool block_in_use(Hpa hpa);
    // Changes the type and the owner of a page that is locked exclusively.
    void assign(LockedPage& page, spec::TdxPageType type, Hpa owner);
    // A 2 MiB page of a TD, locked exclusively, becomes 512 pages of 4 KiB, and the other way round.
    void split(LockedPage& page);
    void merge(LockedPage& page, Hpa owner);
    // The entry itself, for BEPOCH of a page that the secure EPT maps.
    [[nodiscard]] PamtEntry& entry(Hpa hpa, unsigned level);

  private:
    struct Block; // 2 MiB
    struct Group; // 1 GiB

    [[nodiscard]] Block& block(Hpa hpa);

    Hpa base_;
    u64 groups_;
    std::unique_ptr<std::atomic<Group*>[]> table_;
};

} // namespace seamless::tdx
