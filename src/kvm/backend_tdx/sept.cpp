// SPDX-License-Identifier: Apache-2.0
// The mirror's edits as SEAMCALLs. A refusal that is not "busy" means that KVM's copy and the module's
// disagree: the VM is then beyond repair.
#include "kvm/backend_tdx/tdx.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;

Result<void, Errno> tdx_sept_link_private_spt(Vm& vm, Gfn gfn, unsigned level, Hpa table)
{
    const Gpa gpa(align_down(gpa_of(gfn).value(), ept::level_size(level)));
    const u64 status = tdx_host(vm).seamcall(TdhLeaf::MEM_SEPT_ADD, gpa_mapping(gpa, level),
                                             vm.tdx->tdr.value(), table.value());
    if (is_busy(status))
        return fail(Errno{EBUSY});
    if (status == 0)
        return {};
    vm.mark_bugged();
    return fail(Errno{EIO});
}

Result<void, Errno> tdx_sept_set_private_spte(Vm& vm, Gfn gfn, unsigned level, Hpa page)
{
    if (vm.tdx->state != TdState::RUNNABLE) {
        // INIT_MEM_REGION follows with the page's content.
        ++vm.tdx->nr_premapped;
        return {};
    }
    const u64 status = tdx_host(vm).seamcall(TdhLeaf::MEM_PAGE_AUG, gpa_mapping(gpa_of(gfn), level),
                                             vm.tdx->tdr.value(), page.value());
    if (is_busy(status))
        return fail(Errno{EBUSY});
    if (status == 0)
        return {};
    vm.mark_bugged();
    return fail(Errno{EIO});
}

namespace {

// Until every vCPU has left and entered again, a processor may use the old translation.
Result<void, Errno> track(Vm& vm)
{
    if (vm.tdx->state != TdState::RUNNABLE)
        return {};
    TdxHost& host = tdx_host(vm);
    u64 status = host.seamcall(TdhLeaf::MEM_TRACK, vm.tdx->tdr.value());
    if (is_busy(status) || status_of(status) == TdxStatus::PREVIOUS_TLB_EPOCH_BUSY) {
        vm.tdx->wait_for_sept_zap = true;
        vm.kick_all_vcpus_out(KVM_REQ_OUTSIDE_GUEST_MODE);
        status = host.seamcall(TdhLeaf::MEM_TRACK, vm.tdx->tdr.value());
        vm.tdx->wait_for_sept_zap = false;
    }
    if (status != 0)
        return fail(Errno{EIO});
    vm.kick_all_vcpus_out(KVM_REQ_OUTSIDE_GUEST_MODE);
    return {};
}

// A SEAMCALL that loses against a running vCPU once gets a second try with all vCPUs outside.
u64 seamcall_with_retry(Vm& vm, TdhLeaf leaf, u64 rcx, u64 rdx)
{
    TdxHost& host = tdx_host(vm);
    u64 status = host.seamcall(leaf, rcx, rdx);
    if (!is_busy(status))
        return status;
    vm.tdx->wait_for_sept_zap = true;
    vm.kick_all_vcpus_out(KVM_REQ_OUTSIDE_GUEST_MODE);
    status = host.seamcall(leaf, rcx, rdx);
    vm.tdx->wait_for_sept_zap = false;
    return status;
}

} // namespace

Result<void, Errno> tdx_sept_remove_private_spte(Vm& vm, Gfn gfn, unsigned level, Hpa page)
{
    if (!vm.tdx->has_hkid())
        return {}; // the TD is gone; its pages are reclaimed
    const u64 gpa = gpa_mapping(gpa_of(gfn), level), tdr = vm.tdx->tdr.value();
    const auto bugged = [&]() {
        vm.mark_bugged();
        return fail(Errno{EIO});
    };
    u64 status = seamcall_with_retry(vm, TdhLeaf::MEM_RANGE_BLOCK, gpa, tdr);
    if (vm.tdx->state != TdState::RUNNABLE && status_of(status) == TdxStatus::EPT_ENTRY_STATE_INCORRECT) {
        --vm.tdx->nr_premapped; // mapped in the mirror only, never added
        return {};
    }
    if (status != 0 || !track(vm))
        return bugged();
    if (seamcall_with_retry(vm, TdhLeaf::MEM_PAGE_REMOVE, gpa, tdr) != 0)
        return bugged();
    status = tdx_host(vm).seamcall(TdhLeaf::PHYMEM_PAGE_WBINVD,
                                   mem::with_hkid(page, static_cast<unsigned>(vm.tdx->hkid)).value());
    if (status != 0)
        return bugged();
    return {}; // nobody reads the page before a TD accepts it, zeroed, or PAGE.ADD fills it
}

void tdx_sept_free_private_spt(Vm& vm, Hpa table)
{
    if (vm.tdx->has_hkid())
        return vm.mark_bugged(); // too early: the page belongs to a live TD and is lost
    (void)tdx_reclaim_page(vm, table);
}

} // namespace seamless::kvm
