// SPDX-License-Identifier: Apache-2.0
// Memslots: which guest frames are memory, and where that memory is. KVM API: "KVM_SET_USER_MEMORY_REGION2".
// The generation counts their changes; MMIO SPTEs of plain VMs carry it, to be recognised as out of date.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "base/address.h"
#include "base/errno.h"
#include "base/result.h"
#include "kvm/dirty_log.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class GuestMemfd;
class Vm;

struct Memslot {
    u32 id = 0;
    u32 flags = 0;
    Gfn base;
    u64 npages = 0;
    u64 userspace_addr = 0;
    GuestMemfd* gmem = nullptr; // null once its file is closed
    u64 gmem_offset = 0;
    std::unique_ptr<DirtyBitmap> dirty; // where writes are logged

    [[nodiscard]] bool contains(Gfn gfn) const { return gfn >= base && gfn - base < npages; }
    [[nodiscard]] u64 hva(Gfn gfn) const { return userspace_addr + ((gfn - base) << kPageShift); }
    [[nodiscard]] bool can_be_private() const { return flags & spec::kvm::KVM_MEM_GUEST_MEMFD; }
    [[nodiscard]] bool logs_dirty_pages() const { return flags & spec::kvm::KVM_MEM_LOG_DIRTY_PAGES; }
    [[nodiscard]] bool readonly() const { return flags & spec::kvm::KVM_MEM_READONLY; }
};

// Guarded by the VM's slots_lock.
class Memslots {
  public:
    static constexpr u32 kUserSlots = 32764;
    static constexpr u64 kMmioGenerationMask = (u64{1} << 19) - 1;

    [[nodiscard]] const Memslot* find(Gfn gfn) const;
    [[nodiscard]] Memslot* by_id(u32 id);
    [[nodiscard]] bool overlaps(Gfn base, u64 npages, u32 except) const;
    Memslot& insert(std::unique_ptr<Memslot> slot);
    [[nodiscard]] std::unique_ptr<Memslot> take(u32 id);
    [[nodiscard]] std::vector<u32> ids() const;

    // 2 for each update of an ordinary VM (it counts its address spaces: normal and SMM), 1 for one with
    // private memory.
    void bump_generation(unsigned address_spaces) { generation_.fetch_add(address_spaces); }
    // Any thread, without the lock: it may be older than the slots by the time it is looked at.
    [[nodiscard]] u64 generation() const { return generation_.load(); }

  private:
    std::map<u32, std::unique_ptr<Memslot>> by_id_;
    std::map<u64, Memslot*> by_gfn_;
    std::atomic<u64> generation_ = 0;
};

} // namespace seamless::kvm
