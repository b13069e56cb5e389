// SPDX-License-Identifier: Apache-2.0
// A virtual machine: memslots, attributes, buses, page tables, vCPUs. Functions return KVM's errnos; the
// descriptors and pointers of ioctls are uapi's.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <vector>

#include "base/writer_first_mutex.h"
#include "kvm/coalesced_mmio.h"
#include "kvm/io_bus.h"
#include "kvm/ioeventfd.h"
#include "kvm/irqchip/irqfd.h"
#include "kvm/irqchip/routing.h"
#include "kvm/kvmclock.h"
#include "kvm/memory_attributes.h"
#include "kvm/memslots.h"
#include "kvm/mmu/tdp_mmu.h"
#include "kvm/msr_filter.h"
#include "kvm/x86_ops/x86_ops.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class Kvm;
class Vcpu;
class GuestMemfd;
struct KvmTdx;

class Vm {
  public:
    [[nodiscard]] static Result<std::shared_ptr<Vm>, Errno> create(Kvm& kvm, u64 type);
    ~Vm();
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;

    [[nodiscard]] Kvm& kvm() { return kvm_; }
    [[nodiscard]] mem::HostMemory& memory();
    [[nodiscard]] bool is_td() const { return type == spec::kvm::KVM_X86_TDX_VM; }

    [[nodiscard]] Result<Vcpu*, Errno> create_vcpu(u32 id);
    // The vCPUs there are; they only become more, so any thread may look.
    [[nodiscard]] std::span<const std::unique_ptr<Vcpu>> vcpus() const
    {
        return {vcpus_.data(), online_vcpus_.load(std::memory_order_acquire)};
    }
    // `gmem`: the file that region.guest_memfd names, or null; `gmem_valid` false: no such file.
    [[nodiscard]] Result<void, Errno> set_memory_region(const spec::kvm::kvm_userspace_memory_region2& region,
                                                        GuestMemfd* gmem, Errno gmem_error);
    [[nodiscard]] Result<void, Errno> set_memory_attributes(const spec::kvm::kvm_memory_attributes& attrs);
    [[nodiscard]] Result<void, Errno> enable_cap(const spec::kvm::kvm_enable_cap& cap);
    [[nodiscard]] int check_extension(u32 cap) const;
    [[nodiscard]] Result<void, Errno> set_msr_filter(const spec::kvm::kvm_msr_filter& filter,
                                                     MsrFilter::Bitmaps bitmaps);
    [[nodiscard]] Result<std::vector<u64>, Errno> get_dirty_log(u32 id);
    // `bitmap`: the bits to clear, from page `clear.first_page` on; copied once the check has passed.
    [[nodiscard]] Result<void, Errno> check_clear_dirty_log(const spec::kvm::kvm_clear_dirty_log& clear);
    [[nodiscard]] Result<void, Errno> clear_dirty_log(const spec::kvm::kvm_clear_dirty_log& clear,
                                                      std::span<const u64> bitmap);
    [[nodiscard]] IoBus& bus(BusId id) { return buses[static_cast<unsigned>(id)]; }

    // The host has taken back the VMM's page at `hva`, as KVM's MMU notifier would have said before: what
    // leads there is dropped, and the next access asks for the page again. False: no memslot has it.
    [[nodiscard]] bool host_memory_gone(u64 hva);
    // Takes guest frames away from the tables; slots_lock is held exclusively, or the caller says why not.
    void zap_range(Gfn start, Gfn end, Roots roots);
    // All processors that run this VM drop their translations before they re-enter; waits until they left the
    // guest.
    void flush_remote_tlbs();
    void kick_all_vcpus_out(u32 request);

    // Marked when KVM finds its own state, or the TD's, beyond repair: every later ioctl fails with EIO.
    void mark_dead();
    void mark_bugged() { mark_dead(); }
    [[nodiscard]] bool dead() const { return dead_.load(std::memory_order_acquire); }

    const u64 type;
    const x86_ops& ops;

    std::mutex lock; // kvm->lock: vCPU creation, VM-wide commands
    base::WriterFirstMutex slots_lock;
    Memslots slots;
    MemoryAttributes attributes;
    IoBus buses[kBusCount];
    Ioeventfds ioeventfds{buses};
    CoalescedMmio coalesced_mmio{buses};
    IrqRouting irq_routing;
    Irqfds irqfds{*this};

    u64 shadow_nonpresent_value;
    u64 shadow_mmio_value;
    Gfn gfn_direct_bits;
    bool has_private_mem = false;
    bool ignore_guest_pat = true;
    unsigned max_vcpus;
    bool irqchip_split = false; // local APICs in here, the IOAPIC in the VMM
    u32 nr_reserved_ioapic_pins = 0;
    u64 x2apic_format = 0;
    u64 hypercall_exit_enabled = 0;
    u64 user_space_msr_mask = 0;
    MsrFilter msr_filter;
    bool exit_on_emulation_error = false;
    u64 manual_dirty_log_protect = 0;
    u32 default_tsc_khz;
    u64 apic_bus_cycles_ns = 1;
    u32 bsp_vcpu_id = 0;
    TdpMmu mmu{*this};
    std::unique_ptr<KvmTdx> tdx;
    const u64 tsc_at_creation; // of the host: where the counters of a plain VM's vCPUs begin
    KvmClock kvmclock;
    std::atomic<u64> tlb_flushes{0}; // for statistics and tests

  private:
    Vm(Kvm& kvm, u64 type, const x86_ops& ops);
    [[nodiscard]] Result<void, Errno> create_slot(const spec::kvm::kvm_userspace_memory_region2& region,
                                                  GuestMemfd* gmem, Errno gmem_error);
    [[nodiscard]] Result<void, Errno> delete_slot(u32 id);
    [[nodiscard]] Result<void, Errno> update_slot(Memslot& old,
                                                  const spec::kvm::kvm_userspace_memory_region2& region);
    [[nodiscard]] Result<Memslot*, Errno> logged_slot(u32 id);
    void update_dirty_log(Memslot& slot);
    void outdate_faults();
    void zap_all_fast();
    void generation_changed();

    Kvm& kvm_;
    std::atomic<bool> dead_{false};
    std::vector<std::unique_ptr<Vcpu>> vcpus_; // has its full size from the start
    std::atomic<std::size_t> online_vcpus_{0};
};

} // namespace seamless::kvm
