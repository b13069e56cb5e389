// SPDX-License-Identifier: Apache-2.0
// The order of checks in a TDP fault is KVM's, since user space sees it: attributes before slots, slots
// before pages.
#include <sys/mman.h>

#include "kvm/emulate.h"
#include "kvm/guest_memfd.h"
#include "kvm/mmu/mmu.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "kvm/x86_ops/x86_ops.h"

namespace seamless::kvm {

namespace {

using namespace spec;
using namespace spec::kvm;

Handled memory_fault_exit(Vcpu& vcpu, const PageFault& fault, int error = EFAULT)
{
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_MEMORY_FAULT;
    run.memory_fault.flags = fault.is_private ? KVM_MEMORY_EXIT_FLAG_PRIVATE : 0;
    run.memory_fault.gpa = gpa_of(fault.gfn).value();
    run.memory_fault.size = kPageSize;
    return fail(Errno{error});
}

constexpr int kPopulateRead = 22, kPopulateWrite = 23; // MADV_POPULATE_*

bool host_can_populate()
{
    alignas(kPageSize) static u8 probe[kPageSize];
    static const bool can = madvise(probe, kPageSize, kPopulateRead) == 0;
    return can;
}

// What get_user_pages would do: the VMM's page exists and may be accessed that way.
bool host_page_ok(u64 hva, bool write)
{
    void* page = reinterpret_cast<void*>(hva);
    if (host_can_populate()) // EINVAL, too, is a refusal: of an access that the mapping does not allow
        return madvise(page, kPageSize, write ? kPopulateWrite : kPopulateRead) == 0;
    unsigned char resident; // an older host kernel can only say "mapped"
    return mincore(page, kPageSize, &resident) == 0;
}

bool host_range_mapped(u64 hva, u64 bytes)
{
    unsigned char resident[512];
    return mincore(reinterpret_cast<void*>(hva), bytes, resident) == 0;
}

// The largest leaf that the slot's alignment allows.
unsigned shared_level(const Memslot& slot, Gfn gfn, const Vm& vm)
{
    const u64 frames = ept::level_size(1) >> kPageShift;
    const Gfn start(align_down(gfn.value(), frames));
    if (vm.gfn_direct_bits.value() != 0 || slot.dirty || start < slot.base ||
        !slot.contains(start + (frames - 1)))
        return 0;
    return aligned(slot.hva(start), ept::level_size(1)) ? 1 : 0;
}

Result<RetPf, Errno> find_private(PageFault& fault)
{
    GuestMemfd* gmem = fault.slot->gmem;
    if (!gmem) {
        (void)memory_fault_exit(fault.vcpu, fault);
        return fail(Errno{EFAULT});
    }
    fault.page = gmem->page(fault.slot->gmem_offset + ((fault.gfn - fault.slot->base) << kPageShift));
    fault.map_writable = true;
    fault.goal_level = 0; // private_max_mapping_level: 4 KiB
    return RET_PF_CONTINUE;
}

Result<RetPf, Errno> find_shared(PageFault& fault)
{
    if (fault.write && fault.slot->readonly())
        return RET_PF_EMULATE;
    fault.map_writable = !fault.slot->readonly();
    fault.page = Hpa(fault.slot->hva(fault.gfn));
    fault.goal_level = shared_level(*fault.slot, fault.gfn, fault.vcpu.vm());
    return RET_PF_CONTINUE;
}

// Finds what is behind the frame. RET_PF_CONTINUE: go on and map it.
Result<RetPf, Errno> find_page(PageFault& fault)
{
    Vm& vm = fault.vcpu.vm();
    const std::shared_lock slots(vm.slots_lock);
    fault.mmu_seq = vm.mmu.invalidation_seq();
    fault.slot = vm.slots.find(fault.gfn);
    const bool attribute_private = vm.attributes.get(fault.gfn) & KVM_MEMORY_ATTRIBUTE_PRIVATE;
    if (vm.has_private_mem && fault.is_private != attribute_private) {
        (void)memory_fault_exit(fault.vcpu, fault);
        return fail(Errno{EFAULT});
    }
    if (!fault.slot) {
        if (fault.is_private) {
            (void)memory_fault_exit(fault.vcpu, fault);
            return fail(Errno{EFAULT});
        }
        fault.mmio_generation = vm.slots.generation();
        fault.vcpu.mmio_cache = {.gfn = fault.gfn, .generation = fault.mmio_generation, .valid = true};
        if (gpa_of(fault.gfn).value() >> mem::kMaxPhysicalAddress)
            return RET_PF_EMULATE;
        return RET_PF_CONTINUE;
    }
    return fault.is_private ? find_private(fault) : find_shared(fault);
}

// The VMM's page, which may have to be made first, by whoever in the VMM handles its faults: no lock is held.
Result<RetPf, Errno> fault_in_host_page(PageFault& fault)
{
    const u64 hva = fault.page.value();
    const bool writable = fault.map_writable && host_page_ok(hva, true);
    if (!writable && (fault.write || !host_page_ok(hva, false))) {
        const bool raced = fault.vcpu.vm().mmu.invalidation_seq() != fault.mmu_seq;
        return raced ? Result<RetPf, Errno>(RET_PF_RETRY) : Result<RetPf, Errno>(fail(Errno{EFAULT}));
    }
    fault.map_writable = writable;
    // Host memory is contiguous wherever it is mapped.
    if (fault.goal_level == 1 && !host_range_mapped(align_down(hva, ept::level_size(1)), ept::level_size(1)))
        fault.goal_level = 0;
    return RET_PF_CONTINUE;
}

Result<RetPf, Errno> kvm_tdp_page_fault(PageFault& fault)
{
    Vm& vm = fault.vcpu.vm();
    RetPf found = TRY(find_page(fault));
    if (found == RET_PF_CONTINUE && fault.slot && !fault.is_private)
        found = TRY(fault_in_host_page(fault));
    if (found != RET_PF_CONTINUE)
        return found;
    const std::lock_guard mmu(vm.mmu.lock);
    if (vm.mmu.invalidation_seq() != fault.mmu_seq) {
        vm.mmu.raced_faults.fetch_add(1);
        return RET_PF_RETRY;
    }
    return vm.mmu.map(fault);
}

// A misconfiguration: an MMIO SPTE, unless a memslot change made it out of date.
RetPf handle_mmio_page_fault(Vcpu& vcpu, u64 gpa)
{
    Vm& vm = vcpu.vm();
    const Gfn gfn = gfn_of(Gpa(gpa));
    const Vcpu::MmioCache& cache = vcpu.mmio_cache;
    if (cache.valid && cache.gfn == gfn && cache.generation == vm.slots.generation())
        return RET_PF_EMULATE;
    const std::shared_lock slots(vm.slots_lock);
    const u64 generation = vm.slots.generation();
    const std::lock_guard mmu(vm.mmu.lock);
    const u64 spte = vm.mmu.lookup(gfn, false);
    if (!is_mmio_spte(spte, vm.shadow_mmio_value))
        return RET_PF_RETRY; // zapped meanwhile
    if (get_mmio_spte_generation(spte) != (generation & kMmioGenerationMask))
        return RET_PF_INVALID;
    vcpu.mmio_cache = {.gfn = gfn, .generation = generation, .valid = true};
    return RET_PF_EMULATE;
}

} // namespace

Result<RetPf, Errno> kvm_mmu_do_page_fault(Vcpu& vcpu, u64 gpa, u64 error_code, bool prefetch)
{
    Vm& vm = vcpu.vm();
    PageFault fault{.vcpu = vcpu, .addr = gpa, .error_code = error_code};
    fault.write = error_code & PFERR_WRITE_MASK;
    fault.exec = error_code & PFERR_FETCH_MASK;
    fault.present = error_code & PFERR_PRESENT_MASK;
    fault.is_private = error_code & PFERR_PRIVATE_ACCESS;
    fault.prefetch = prefetch;
    fault.gfn = Gfn((gpa >> kPageShift) & ~vm.gfn_direct_bits.value());
    const RetPf r = TRY(kvm_tdp_page_fault(fault));
    if (r == RET_PF_EMULATE && fault.is_private) {
        (void)memory_fault_exit(vcpu, fault);
        return fail(Errno{EFAULT});
    }
    if (vm.dead())
        return fail(Errno{EIO});
    if (fault.out_of_memory)
        return fail(Errno{ENOMEM});
    return r;
}

Handled kvm_mmu_page_fault(Vcpu& vcpu, u64 gpa, u64 error_code, std::span<const u8> insn)
{
    RetPf r = RET_PF_INVALID;
    if (error_code & PFERR_RSVD_MASK) {
        if (error_code & PFERR_PRIVATE_ACCESS)
            return fail(Errno{EFAULT});
        r = handle_mmio_page_fault(vcpu, gpa);
        TRACE(vcpu.trace(), trace::Event::handle_mmio_page_fault, gpa, name_of(r));
    }
    if (r == RET_PF_INVALID)
        r = TRY(kvm_mmu_do_page_fault(vcpu, gpa, error_code, false));
    if (r != RET_PF_EMULATE)
        return static_cast<int>(r == RET_PF_CONTINUE ? RET_PF_RETRY : r);
    return x86_emulate_instruction(vcpu, gpa, EMULTYPE_PF, insn);
}

Result<void, Errno> kvm_tdp_map_page(Vcpu& vcpu, u64 gpa, u64 error_code)
{
    for (;;) {
        if (vcpu.signal_pending())
            return fail(Errno{EINTR});
        switch (TRY(kvm_mmu_do_page_fault(vcpu, gpa, error_code, true))) {
        case RET_PF_RETRY:
            continue;
        case RET_PF_FIXED:
        case RET_PF_SPURIOUS:
        case RET_PF_WRITE_PROTECTED:
            return {};
        case RET_PF_EMULATE:
            return fail(Errno{ENOENT});
        case RET_PF_CONTINUE:
        case RET_PF_INVALID:
            return fail(Errno{EIO});
        }
    }
}

} // namespace seamless::kvm
