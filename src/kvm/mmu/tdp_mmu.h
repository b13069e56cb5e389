// SPDX-License-Identifier: Apache-2.0
// KVM's TDP MMU: the page tables of a VM. The direct root is walked by the processor (a TD: for GPAs with the
// shared bit); the mirror root of a TD is KVM's copy of its secure EPT, changed there through SEAMCALLs.
#pragma once

#include <atomic>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "kvm/fault.h"
#include "kvm/mmu/spte.h"
#include "mem/host_memory.h"

namespace seamless::kvm {

class Vm;
struct PageFault;

// Which roots a change concerns.
enum class Roots : u8 { shared_only, private_only, all };

// An edit of a live table owes the processors a flush.
struct [[nodiscard]] TlbFlush {
    bool needed = false;
    TlbFlush& operator|=(TlbFlush other)
    {
        needed |= other.needed;
        return *this;
    }
};

class TdpMmu {
  public:
    explicit TdpMmu(Vm& vm) : vm_(vm) {}
    ~TdpMmu();
    TdpMmu(const TdpMmu&) = delete;
    TdpMmu& operator=(const TdpMmu&) = delete;

    // Makes the roots that the VM lacks. `mirror`: also the mirror root. 4 or 5 levels.
    [[nodiscard]] Result<void, Errno> make_roots(unsigned levels, bool mirror);
    // A vCPU loads it while the root is replaced: it may still get the old one, but then the request that
    // follows the replacement makes it leave the guest and load it again, before the old tables are freed.
    [[nodiscard]] Hpa direct_root() const { return Hpa(direct_.load()); }
    [[nodiscard]] Hpa mirror_root() const { return mirror_; }
    [[nodiscard]] unsigned levels() const { return levels_; }

    // Installs what `fault` asks for: memory or, without a slot, an MMIO SPTE.
    [[nodiscard]] RetPf map(PageFault& fault);
    // The SPTE that ends the walk for `gfn` in the direct or the mirror root.
    [[nodiscard]] u64 lookup(Gfn gfn, bool mirror, unsigned* level = nullptr) const;
    // Leaves of [start, end) that have memory behind them. MMIO SPTEs stay: they die with their root.
    TlbFlush zap_leafs(Gfn start, Gfn end, Roots roots);
    // Makes the next write to the frames fault: all of [start, end), where large leaves are dropped, or those
    // of the 64 from `base` on that `mask` names.
    TlbFlush write_protect(Gfn start, Gfn end);
    TlbFlush write_protect_masked(Gfn base, u64 mask);
    // A fresh direct root; gives the tables of the old one, to be freed once no processor walks them.
    [[nodiscard]] Result<std::vector<Hpa>, Errno> replace_direct_root();
    // The mirror's tables go last, when the TD has lost its key: each returns its page of the secure EPT.
    void free_mirror();

    // A fault looks for the page without a lock, for that may take time: what it found counts only if nothing
    // was taken away since it looked. KVM's mmu_invalidate_seq.
    [[nodiscard]] u64 invalidation_seq() const { return invalidate_seq_.load(); }
    // With `lock` held: faults that began before start again.
    void note_invalidation() { ++invalidate_seq_; }

    std::mutex lock;                  // mmu_lock
    std::atomic<u64> raced_faults{0}; // for statistics and tests

  private:
    [[nodiscard]] Result<Hpa, Errno> alloc_table();
    [[nodiscard]] RetPf link(PageFault& fault, Hpa entry, u64 old, unsigned level);
    [[nodiscard]] RetPf set_leaf(PageFault& fault, Hpa entry, u64 old, unsigned level);
    TlbFlush zap_table(Hpa table, unsigned level, u64 table_gfn, u64 start, u64 end, bool mirror);
    TlbFlush write_protect_table(Hpa table, unsigned level, u64 table_gfn, u64 start, u64 end);
    void collect(Hpa table, unsigned level, std::vector<Hpa>& tables) const;

    Vm& vm_;
    std::atomic<u64> direct_{0}; // changed with `lock` held
    Hpa mirror_;
    unsigned levels_ = 4;
    std::atomic<u64> invalidate_seq_{0};
    std::unordered_map<u64, Hpa> external_; // mirror table -> the page of the secure EPT
    std::vector<Hpa> split_; // tables that a huge leaf replaced or that replaced one: none are freed early
};

} // namespace seamless::kvm
