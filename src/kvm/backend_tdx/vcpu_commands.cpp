// SPDX-License-Identifier: Apache-2.0
// KVM_TDX_INIT_VCPU, INIT_MEM_REGION and GET_CPUID. They run with the vCPU loaded on a processor.
#include "kvm/backend_tdx/tdx.h"
#include "kvm/guest_memfd.h"
#include "kvm/mmu/mmu.h"
#include "mem/guest_access.h"

#include <sys/uio.h>
#include <unistd.h>

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

bool has_x2apic(const Vcpu& vcpu)
{
    const kvm_cpuid_entry2* entry = find_cpuid_entry(vcpu, 1, 0);
    return entry && test(entry->ecx, 21);
}

Result<void, Errno> create_tdvps(Vcpu& vcpu, u64 initial_rcx, u64& hw_error)
{
    Vm& vm = vcpu.vm();
    TdxHost& host = tdx_host(vm);
    VcpuTdx& tdx = *vcpu.tdx;
    const auto refused = [&](u64 status) {
        hw_error = status;
        vm.mark_bugged();
        return fail(Errno{EIO});
    };
    const Hpa tdvpr = TRY(vm.memory().alloc_page());
    if (const u64 status = host.seamcall(TdhLeaf::VP_CREATE, tdvpr.value(), vm.tdx->tdr.value());
        status != 0) {
        vm.memory().free_page(tdvpr);
        return refused(status);
    }
    tdx.tdvpr = tdvpr;
    for (u64 i = 1; i < host.info().tdvps_base_size / kPageSize; ++i) {
        const Hpa page = TRY(vm.memory().alloc_page());
        if (const u64 status = host.seamcall(TdhLeaf::VP_ADDCX, page.value(), tdvpr.value()); status != 0) {
            vm.memory().free_page(page);
            return refused(status);
        }
        tdx.tdcx.push_back(page);
    }
    if (const u64 status = host.seamcall(TdhLeaf::VP_INIT, tdvpr.value(), initial_rcx, vcpu.id, 0, 1);
        status != 0)
        return refused(status);
    return {};
}

Result<void, Errno> td_vmcs_write(Vcpu& vcpu, VmcsField f, u64 value, u64 mask)
{
    const u64 status = tdx_host(vcpu.vm()).seamcall(TdhLeaf::VP_WR, vcpu.tdx->tdvpr.value(),
                                                    md::vmcs_field(static_cast<u32>(f)), value, mask);
    if (status == 0)
        return {};
    vcpu.vm().mark_bugged();
    return fail(Errno{EIO});
}

// The VMM's page, copied into a page that TDH.MEM.PAGE.ADD may read: its own may vanish meanwhile.
Result<void, Errno> copy_source(Hpa to, u64 source)
{
    iovec local{mem::host_ptr(to), kPageSize}, remote{reinterpret_cast<void*>(source), kPageSize};
    if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != static_cast<ssize_t>(kPageSize))
        return fail(Errno{EFAULT});
    return {};
}

Result<void, Errno> measure(Vm& vm, u64 gpa, u64& hw_error)
{
    constexpr u64 kChunk = 256;
    for (u64 offset = 0; offset < kPageSize; offset += kChunk) {
        const u64 status = tdx_host(vm).seamcall(TdhLeaf::MR_EXTEND, gpa + offset, vm.tdx->tdr.value());
        if (status != 0) {
            hw_error = status;
            return fail(Errno{EIO});
        }
    }
    return {};
}

// The page of the slot's file behind `gfn`; slots_lock is held.
Result<GuestMemfd*, Errno> populate_target(Vm& vm, Gfn gfn, u64& offset)
{
    const Memslot* slot = vm.slots.find(gfn);
    if (!slot || !slot->can_be_private())
        return fail(Errno{EINVAL});
    if (!slot->gmem)
        return fail(Errno{EFAULT});
    offset = slot->gmem_offset + ((gfn - slot->base) << kPageShift);
    if (slot->gmem->prepared(offset))
        return fail(Errno{EEXIST});
    if (!(vm.attributes.get(gfn) & KVM_MEMORY_ATTRIBUTE_PRIVATE))
        return fail(Errno{EINVAL});
    return slot->gmem;
}

Result<void, Errno> add_page(Vcpu& vcpu, u64 source, u64 gpa, bool measured, Hpa bounce, u64& hw_error)
{
    Vm& vm = vcpu.vm();
    u64 offset = 0;
    {
        const std::shared_lock slots(vm.slots_lock);
        TRY(populate_target(vm, gfn_of(Gpa(gpa)), offset));
    }
    TRY(copy_source(bounce, source));
    TRY(kvm_tdp_map_page(vcpu, gpa, PFERR_PRIVATE_ACCESS | PFERR_WRITE_MASK));
    const std::shared_lock slots(vm.slots_lock);
    GuestMemfd* gmem = TRY(populate_target(vm, gfn_of(Gpa(gpa)), offset));
    const u64 status = tdx_host(vm).seamcall(TdhLeaf::MEM_PAGE_ADD, gpa_mapping(Gpa(gpa), 0),
                                             vm.tdx->tdr.value(), gmem->page(offset).value(), bounce.value());
    if (status != 0) {
        hw_error = status;
        return fail(Errno{is_busy(status) ? EBUSY : EIO});
    }
    --vm.tdx->nr_premapped;
    gmem->set_prepared(offset);
    return measured ? measure(vm, gpa, hw_error) : Result<void, Errno>{};
}

} // namespace

Result<void, Errno> tdx_init_vcpu(Vcpu& vcpu, u64 initial_rcx, u64& hw_error)
{
    if (vcpu.tdx->initialized)
        return fail(Errno{EINVAL});
    if (!has_x2apic(vcpu)) // the APIC base of a TD's vCPU says x2APIC, so its CPUID must
        return fail(Errno{EINVAL});
    const bool bsp = vcpu.id == vcpu.vm().bsp_vcpu_id;
    TRY(vcpu.lapic.set_base(
        apic::kPageBase | apic::BASE_ENABLE | apic::BASE_X2APIC | (bsp ? apic::BASE_BSP : 0), true));
    TRY(create_tdvps(vcpu, initial_rcx, hw_error));
    if (const cpu::LogicalProcessor* lp = vcpu.vm().kvm().processors().this_cpu())
        vcpu.tdx->associated = lp->id(); // TDH.VP.WR binds the vCPU to this processor
    TRY(td_vmcs_write(vcpu, VmcsField::POSTED_INTR_NV, POSTED_INTR_VECTOR, 0xffff));
    TRY(td_vmcs_write(vcpu, VmcsField::POSTED_INTR_DESC_ADDR, vcpu.tdx->pi_desc_page.value(), ~u64{0}));
    TRY(td_vmcs_write(vcpu, VmcsField::PIN_BASED_VM_EXEC_CONTROL, pin::POSTED_INTERRUPTS,
                      pin::POSTED_INTERRUPTS));
    vcpu.tdx->initialized = true;
    vcpu.set_mp_state(KVM_MP_STATE_RUNNABLE);
    return {};
}

Result<void, Errno> tdx_init_mem_region(Vcpu& vcpu, kvm_tdx_init_mem_region& region, bool measured,
                                        u64& hw_error)
{
    Vm& vm = vcpu.vm();
    if (!vcpu.tdx->initialized)
        return fail(Errno{EINVAL});
    const u64 shared_bit = gpa_of(vm.gfn_direct_bits).value();
    const u64 bytes = region.nr_pages << kPageShift;
    if (!aligned(region.source_addr, kPageSize) || !aligned(region.gpa, kPageSize) || region.nr_pages == 0 ||
        bytes >> kPageShift != region.nr_pages || region.gpa + bytes <= region.gpa ||
        (region.gpa & shared_bit) || ((region.gpa + bytes - 1) & shared_bit))
        return fail(Errno{EINVAL});
    const Hpa bounce = TRY(vm.memory().alloc_page());
    Result<void, Errno> result;
    while (region.nr_pages > 0) {
        result = vcpu.signal_pending()
                     ? fail(Errno{EINTR})
                     : add_page(vcpu, region.source_addr, region.gpa, measured, bounce, hw_error);
        if (!result.ok())
            break;
        region.source_addr += kPageSize;
        region.gpa += kPageSize;
        --region.nr_pages;
    }
    vm.memory().free_page(bounce);
    return result;
}

namespace {

// One leaf as the TD sees it; false if the module has no such field.
bool read_cpuid(Vcpu& vcpu, u32 leaf, u32 subleaf, kvm_cpuid_entry2& out)
{
    TdxHost& host = tdx_host(vcpu.vm());
    cpu::SeamRegs low{.rcx = vcpu.vm().tdx->tdr.value(), .rdx = md::cpuid_value(leaf, subleaf, 0)};
    cpu::SeamRegs high{.rcx = vcpu.vm().tdx->tdr.value(), .rdx = md::cpuid_value(leaf, subleaf, 1)};
    if (host.seamcall(TdhLeaf::MNG_RD, low) != 0 || host.seamcall(TdhLeaf::MNG_RD, high) != 0)
        return false;
    out = {.function = leaf,
           .index = subleaf == ~0u ? 0 : subleaf,
           .flags = subleaf == ~0u ? 0 : KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
           .eax = static_cast<u32>(low.r8),
           .ebx = static_cast<u32>(low.r8 >> 32),
           .ecx = static_cast<u32>(high.r8),
           .edx = static_cast<u32>(high.r8 >> 32)};
    if (leaf == 0x80000008) {
        const u64 width = vcpu.vm().gfn_direct_bits.value() == bit(51 - kPageShift) ? 52 : 48;
        out.eax = static_cast<u32>(with_field(out.eax, 23, 16, width));
    }
    return true;
}

Result<void, Errno> read_cpuid_range(Vcpu& vcpu, u32 first, std::vector<kvm_cpuid_entry2>& all)
{
    constexpr u32 kSubleaves = 0x7f, kLeaves = 0x40;
    kvm_cpuid_entry2 entry{};
    if (!read_cpuid(vcpu, first, ~0u, entry))
        return fail(Errno{EIO});
    all.push_back(entry);
    const u32 last = std::min(entry.eax, first + kLeaves);
    for (u32 leaf = first + 1; leaf <= last; ++leaf) {
        if (read_cpuid(vcpu, leaf, ~0u, entry)) {
            all.push_back(entry);
            continue;
        }
        for (u32 subleaf = 0; subleaf <= kSubleaves; ++subleaf) {
            if (!read_cpuid(vcpu, leaf, subleaf, entry))
                continue;
            all.push_back(entry);
        }
    }
    return {};
}

} // namespace

Result<std::vector<kvm_cpuid_entry2>, Errno> tdx_get_cpuid(Vcpu& vcpu)
{
    std::vector<kvm_cpuid_entry2> all;
    TRY(read_cpuid_range(vcpu, 0, all));
    TRY(read_cpuid_range(vcpu, 0x80000000, all));
    return all;
}

} // namespace seamless::kvm
