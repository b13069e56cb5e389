// SPDX-License-Identifier: Apache-2.0
// VM-wide ioctls: vCPUs, memory, capabilities. Errnos and the order of checks are KVM's.
#include "kvm/vm.h"

#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/guest_memfd.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

constexpr unsigned kMaxVcpus = 1024;
constexpr u64 kUserAddressEnd = (u64{1} << 47) - kPageSize;

} // namespace

Vm::Vm(Kvm& kvm, u64 vm_type, const x86_ops& vm_ops)
    : type(vm_type),
      ops(vm_ops),
      shadow_nonpresent_value(vm_ops.shadow_nonpresent_value),
      shadow_mmio_value(vm_ops.shadow_mmio_value_vmx),
      max_vcpus(kMaxVcpus),
      default_tsc_khz(kvm.tsc_khz()),
      tsc_at_creation(kvm.package().clock().tsc()),
      kvmclock(*this, kvm.package().clock()),
      kvm_(kvm),
      vcpus_(kMaxVcpus)
{}

Result<std::shared_ptr<Vm>, Errno> Vm::create(Kvm& kvm, u64 type)
{
    std::shared_ptr<Vm> vm(new Vm(kvm, type, kvm.ops()));
    TRY(vm->ops.vm_init(*vm));
    if (!vm->is_td())
        TRY(vm->mmu.make_roots(4, false));
    return vm;
}

Vm::~Vm()
{
    irqfds.shut_down();
    ops.vm_pre_destroy(*this);
    online_vcpus_.store(0); // whatever goes wrong from here on, there is nobody to be told
    for (auto& vcpu : vcpus_)
        vcpu.reset();
    mmu.free_mirror();
    ops.vm_destroy(*this);
}

mem::HostMemory& Vm::memory() { return kvm_.package().memory(); }

Result<Vcpu*, Errno> Vm::create_vcpu(u32 id)
{
    const std::lock_guard guard(lock);
    if (id >= 4 * kMaxVcpus)
        return fail(Errno{EINVAL});
    const std::size_t count = online_vcpus_.load();
    if (count >= max_vcpus)
        return fail(Errno{EINVAL});
    for (const auto& other : vcpus())
        if (other->id == id)
            return fail(Errno{EEXIST});
    auto vcpu = std::make_unique<Vcpu>(*this, id);
    TRY(vcpu->map_run_pages());
    TRY(ops.vcpu_create(*vcpu));
    vcpus_[count] = std::move(vcpu);
    online_vcpus_.store(count + 1, std::memory_order_release);
    return vcpus_[count].get();
}

void Vm::mark_dead()
{
    dead_.store(true);
    for (const auto& vcpu : vcpus())
        vcpu->make_request(KVM_REQ_VM_DEAD);
}

void Vm::kick_all_vcpus_out(u32 request)
{
    const auto all = vcpus();
    std::vector<u32> entries;
    for (const auto& vcpu : all)
        entries.push_back(vcpu->make_request(request));
    for (std::size_t i = 0; i < entries.size(); ++i)
        all[i]->wait_until_left(entries[i]);
}

void Vm::flush_remote_tlbs()
{
    tlb_flushes.fetch_add(1);
    kick_all_vcpus_out(KVM_REQ_TLB_FLUSH);
}

void Vm::zap_range(Gfn start, Gfn end, Roots roots)
{
    TlbFlush flush;
    {
        const std::lock_guard guard(mmu.lock);
        flush = mmu.zap_leafs(start, end, roots);
        mmu.note_invalidation();
    }
    if (flush.needed)
        flush_remote_tlbs();
}

// A slot that goes away meanwhile is no reason to hold its lock: frames without one have nothing to drop.
bool Vm::host_memory_gone(u64 hva)
{
    std::vector<Gfn> frames;
    {
        const std::shared_lock guard(slots_lock);
        for (const u32 id : slots.ids()) {
            const Memslot& slot = *slots.by_id(id);
            if (hva - slot.userspace_addr < slot.npages << kPageShift)
                frames.push_back(slot.base + ((hva - slot.userspace_addr) >> kPageShift));
        }
    }
    for (const Gfn gfn : frames)
        zap_range(gfn, gfn + 1, Roots::shared_only);
    return !frames.empty();
}

// Page faults that have looked at a slot look again: with slots_lock held exclusively, before the slot
// changes.
void Vm::outdate_faults()
{
    const std::lock_guard guard(mmu.lock);
    mmu.note_invalidation();
}

void Vm::zap_all_fast()
{
    std::vector<Hpa> old;
    {
        const std::lock_guard guard(mmu.lock);
        auto replaced = mmu.replace_direct_root();
        if (!replaced)
            return mark_dead(); // without memory for one page there is no table to run on
        old = std::move(replaced).value();
        mmu.note_invalidation();
    }
    kick_all_vcpus_out(KVM_REQ_LOAD_MMU_PGD | KVM_REQ_TLB_FLUSH);
    for (const Hpa table : old)
        memory().free_page(table);
}

void Vm::generation_changed()
{
    slots.bump_generation(has_private_mem ? 1 : 2);
    if ((slots.generation() & kMmioGenerationMask & ~u64{has_private_mem ? 0u : 1u}) == 0)
        zap_all_fast(); // the 19 bits in MMIO SPTEs wrapped: old ones would look current
    kick_all_vcpus_out(0);
}

Result<void, Errno> Vm::set_memory_region(const kvm_userspace_memory_region2& region, GuestMemfd* gmem,
                                          Errno gmem_error)
{
    const u32 id = region.slot & 0xffff;
    if (id >= Memslots::kUserSlots)
        return fail(Errno{EINVAL});
    u32 allowed = KVM_MEM_LOG_DIRTY_PAGES;
    if (has_private_mem)
        allowed |= KVM_MEM_GUEST_MEMFD;
    else
        allowed |= KVM_MEM_READONLY;
    if (region.flags & KVM_MEM_GUEST_MEMFD)
        allowed &= ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY);
    if (region.flags & ~allowed)
        return fail(Errno{EINVAL});
    if (!aligned(region.memory_size, kPageSize) || !aligned(region.guest_phys_addr, kPageSize))
        return fail(Errno{EINVAL});
    if (!aligned(region.userspace_addr, kPageSize) || region.userspace_addr > kUserAddressEnd ||
        region.memory_size > kUserAddressEnd - region.userspace_addr)
        return fail(Errno{EINVAL});
    if ((region.flags & KVM_MEM_GUEST_MEMFD) &&
        (!aligned(region.guest_memfd_offset, kPageSize) ||
         region.guest_memfd_offset + region.memory_size < region.guest_memfd_offset))
        return fail(Errno{EINVAL});
    if (region.slot >> 16 != 0) // DEVIATION: SMM has no address space of its own here
        return fail(Errno{EINVAL});
    if (region.guest_phys_addr + region.memory_size < region.guest_phys_addr)
        return fail(Errno{EINVAL});
    const std::unique_lock guard(slots_lock);
    Memslot* old = slots.by_id(region.slot);
    if (region.memory_size == 0)
        return old ? delete_slot(region.slot) : Result<void, Errno>(fail(Errno{EINVAL}));
    if (old)
        return update_slot(*old, region);
    return create_slot(region, gmem, gmem_error);
}

Result<void, Errno> Vm::create_slot(const kvm_userspace_memory_region2& region, GuestMemfd* gmem,
                                    Errno gmem_error)
{
    auto slot = std::make_unique<Memslot>();
    slot->id = region.slot;
    slot->flags = region.flags;
    slot->base = gfn_of(Gpa(region.guest_phys_addr));
    slot->npages = region.memory_size >> kPageShift;
    slot->userspace_addr = region.userspace_addr;
    if (slots.overlaps(slot->base, slot->npages, region.slot))
        return fail(Errno{EEXIST});
    if (slot->can_be_private()) {
        if (!gmem)
            return fail(gmem_error);
        if (&gmem->vm() != this)
            return fail(Errno{EINVAL});
    }
    const u64 last = (slot->base + (slot->npages - 1)).value();
    if ((last & gfn_direct_bits.value()) || last >> (mem::kMaxPhysicalAddress - kPageShift))
        return fail(Errno{EINVAL});
    if (slot->can_be_private())
        TRY(gmem->bind(*slot, region.guest_memfd_offset));
    update_dirty_log(slots.insert(std::move(slot)));
    generation_changed();
    return {};
}

Result<void, Errno> Vm::update_slot(Memslot& old, const kvm_userspace_memory_region2& region)
{
    if ((old.flags | region.flags) & KVM_MEM_GUEST_MEMFD)
        return fail(Errno{EINVAL});
    const u64 npages = region.memory_size >> kPageShift;
    if (old.userspace_addr != region.userspace_addr || old.npages != npages ||
        ((old.flags ^ region.flags) & KVM_MEM_READONLY))
        return fail(Errno{EINVAL});
    const Gfn base = gfn_of(Gpa(region.guest_phys_addr));
    if (base == old.base && region.flags == old.flags)
        return {}; // nothing changes
    if (base != old.base && slots.overlaps(base, npages, region.slot))
        return fail(Errno{EEXIST});
    if ((base + (npages - 1)).value() & gfn_direct_bits.value())
        return fail(Errno{EINVAL});
    outdate_faults();
    auto slot = slots.take(region.slot);
    const Gfn from = slot->base;
    slot->base = base;
    slot->flags = region.flags;
    Memslot& changed = slots.insert(std::move(slot));
    if (base != from) {
        if (is_td())
            zap_range(from, from + npages, Roots::all);
        else
            zap_all_fast();
    }
    update_dirty_log(changed);
    generation_changed();
    return {};
}

Result<void, Errno> Vm::delete_slot(u32 id)
{
    outdate_faults();
    const auto slot = slots.take(id);
    // The quirk SLOT_ZAP_ALL: an ordinary VM drops all its tables, a TD only the slot's leaves.
    if (is_td())
        zap_range(slot->base, slot->base + slot->npages, Roots::all);
    else
        zap_all_fast();
    if (slot->gmem)
        slot->gmem->unbind(*slot);
    generation_changed();
    return {};
}

Result<void, Errno> Vm::set_msr_filter(const kvm_msr_filter& filter, MsrFilter::Bitmaps bitmaps)
{
    const std::lock_guard guard(lock);
    TRY(msr_filter.set(filter, std::move(bitmaps)));
    for (const auto& vcpu : vcpus()) // what passes through without an exit may have changed
        vcpu->make_request(KVM_REQ_MSR_FILTER_CHANGED);
    return {};
}

Result<void, Errno> Vm::set_memory_attributes(const kvm_memory_attributes& attrs)
{
    if (attrs.flags != 0)
        return fail(Errno{EINVAL});
    const u64 known = has_private_mem ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
    if (attrs.attributes & ~known)
        return fail(Errno{EINVAL});
    if (attrs.size == 0 || attrs.address + attrs.size < attrs.address)
        return fail(Errno{EINVAL});
    if (!aligned(attrs.address, kPageSize) || !aligned(attrs.size, kPageSize))
        return fail(Errno{EINVAL});
    const Gfn start = gfn_of(Gpa(attrs.address)), end = start + (attrs.size >> kPageShift);
    const std::unique_lock guard(slots_lock);
    if (attributes.range_has(start, end, attrs.attributes))
        return {};
    attributes.set(start, end, attrs.attributes);
    zap_range(start, end,
              attrs.attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE ? Roots::shared_only : Roots::private_only);
    return {};
}

} // namespace seamless::kvm
