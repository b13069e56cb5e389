// SPDX-License-Identifier: Apache-2.0
// How a TD ends, and how a vCPU moves between processors. The order of the teardown is the module's: no vCPU
// associated, caches written back, key freed, then page by page, the TDR last.
#include "kvm/backend_tdx/tdx.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;

Result<void, Errno> tdx_vm_init(Vm& vm)
{
    vm.has_private_mem = true;
    vm.ignore_guest_pat = false;
    vm.shadow_mmio_value = vm.ops.shadow_mmio_value_tdx;
    vm.max_vcpus = std::min(vm.max_vcpus, vm.kvm().package().count());
    vm.tdx = std::make_unique<KvmTdx>();
    return {};
}

void tdx_flush_vp_on_cpu(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    if (tdx.associated == Processors::kAny)
        return;
    TdxHost& host = tdx_host(vcpu.vm());
    Processors& processors = vcpu.vm().kvm().processors();
    processors.call_on(
        tdx.associated,
        [&](cpu::LogicalProcessor& lp) {
            cpu::SeamRegs regs{.rcx = tdx.tdvpr.value()};
            const u64 status = host.seamcall_on(lp, TdhLeaf::VP_FLUSH, regs);
            if (status != 0 && status_of(status) != TdxStatus::VCPU_NOT_ASSOCIATED)
                vcpu.vm().mark_bugged();
        },
        processors.this_cpu());
    tdx.associated = Processors::kAny;
}

Result<void, Errno> tdx_vcpu_load(Vcpu& vcpu, cpu::LogicalProcessor& lp)
{
    if (vcpu.tdx->associated != lp.id())
        tdx_flush_vp_on_cpu(vcpu);
    if (vcpu.tdx->tdvpr != Hpa())
        vcpu.tdx->associated = lp.id();
    return {};
}

Result<void, Errno> tdx_vcpu_create(Vcpu& vcpu)
{
    Vm& vm = vcpu.vm();
    if (vm.tdx->state != TdState::INITIALIZED)
        return fail(Errno{EIO});
    if (!vm.irqchip_split)
        return fail(Errno{EINVAL});
    vcpu.tdx = std::make_unique<VcpuTdx>();
    vcpu.tdx->pi_desc_page = TRY(vm.memory().alloc_page());
    vcpu.tdx->pi().control = u64{POSTED_INTR_VECTOR} << 16;
    return {};
}

bool tdx_reclaim_page(Vm& vm, Hpa page)
{
    constexpr int kTries = 1000;
    u64 status = 0;
    for (int i = 0; i < kTries; ++i) {
        status = tdx_host(vm).seamcall(TdhLeaf::PHYMEM_PAGE_RECLAIM, page.value());
        if (!is_busy(status))
            break;
    }
    if (status != 0)
        return false;
    mem::zero(page, kPageSize);
    vm.memory().free_page(page);
    return true;
}

void tdx_vcpu_free(Vcpu& vcpu)
{
    if (!vcpu.tdx)
        return;
    // Pages of a TD that still has its key cannot be reclaimed: they are lost with it.
    if (!vcpu.vm().tdx->has_hkid()) {
        for (const Hpa page : vcpu.tdx->tdcx)
            (void)tdx_reclaim_page(vcpu.vm(), page);
        if (vcpu.tdx->tdvpr != Hpa())
            (void)tdx_reclaim_page(vcpu.vm(), vcpu.tdx->tdvpr);
    }
    vcpu.vm().memory().free_page(vcpu.tdx->pi_desc_page);
    vcpu.tdx.reset();
}

void tdx_vm_pre_destroy(Vm& vm)
{
    KvmTdx& td = *vm.tdx;
    if (!td.has_hkid())
        return;
    TdxHost& host = tdx_host(vm);
    for (const auto& vcpu : vm.vcpus())
        if (vcpu->tdx)
            tdx_flush_vp_on_cpu(*vcpu);
    if (host.seamcall(TdhLeaf::MNG_VPFLUSHDONE, td.tdr.value()) != 0)
        return; // the key and the TD's pages are lost
    constexpr int kTries = 10000;
    u64 status = 0;
    for (int i = 0; i < kTries; ++i) {
        status = host.seamcall(TdhLeaf::PHYMEM_CACHE_WB, i == 0 ? 0 : 1);
        if (status_of(status) != TdxStatus::INTERRUPTED_RESUMABLE && !is_busy(status))
            break;
    }
    if (status != 0 && status_of(status) != TdxStatus::NO_HKID_READY_TO_WBCACHE)
        return;
    if (host.seamcall(TdhLeaf::MNG_KEY_FREEID, td.tdr.value()) != 0)
        return;
    host.free_hkid(static_cast<unsigned>(td.hkid));
    td.hkid = -1;
}

void tdx_vm_destroy(Vm& vm)
{
    KvmTdx& td = *vm.tdx;
    if (td.has_hkid() || td.tdr == Hpa())
        return;
    for (const Hpa page : td.tdcs)
        (void)tdx_reclaim_page(vm, page);
    td.tdcs.clear();
    TdxHost& host = tdx_host(vm);
    if (host.seamcall(TdhLeaf::PHYMEM_PAGE_RECLAIM, td.tdr.value()) != 0)
        return;
    if (host.seamcall(TdhLeaf::PHYMEM_PAGE_WBINVD, mem::with_hkid(td.tdr, host.global_hkid()).value()) != 0)
        return;
    mem::zero(td.tdr, kPageSize);
    vm.memory().free_page(td.tdr);
    td.tdr = Hpa();
}

} // namespace seamless::kvm
