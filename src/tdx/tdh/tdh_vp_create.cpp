// SPDX-License-Identifier: Apache-2.0
// TDH.VP.CREATE, VP.ADDCX, VP.INIT: a vCPU gets its pages and its initial state.
#include <algorithm>

#include "mem/guest_access.h"
#include "tdx/guest/initial_state.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {

using spec::TdVcpuState;
using spec::TdxPageType;

TdxStatus tdh_vp_create(SeamCall& call)
{
    Td& td = *call.td;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_page(call.regs.rcx, TdxOperand::RCX, LockMode::exclusive,
                                                  TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    mem::zero(page.hpa, kPageSize);
    call.module.take_page(page, TdxPageType::TDVPR, td);
    const std::lock_guard guard(td.vcpus_mutex);
    td.vcpus.push_back(std::make_unique<Vcpu>(page.hpa, td));
    page.entry->object = td.vcpus.back().get();
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_vp_addcx(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    if (vcpu.state != TdVcpuState::UNINITIALIZED)
        return TdxStatus::VCPU_STATE_INCORRECT | static_cast<u32>(vcpu.state.load());
    if (vcpu.complete())
        return TdxStatus::TDCX_NUM_INCORRECT;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_page(call.regs.rcx, TdxOperand::RCX, LockMode::exclusive,
                                                  TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    mem::zero(page.hpa, kPageSize);
    call.module.take_page(page, TdxPageType::TDCX, vcpu.td);
    vcpu.tdcx[vcpu.num_pages++ - 1] = page.hpa;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_vp_init(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    Td& td = vcpu.td;
    if (vcpu.state != TdVcpuState::UNINITIALIZED)
        return TdxStatus::VCPU_STATE_INCORRECT | static_cast<u32>(vcpu.state.load());
    if (!vcpu.complete())
        return TdxStatus::TDCX_NUM_INCORRECT;
    if (call.version > 0 && call.regs.r8 >> 32)
        return TdxStatus::OPERAND_INVALID | TdxOperand::R8;
    {
        const std::lock_guard guard(td.vcpus_mutex);
        if (td.num_vcpus >= td.max_vcpus)
            return TdxStatus::MAX_VCPUS_EXCEEDED;
        const u32 id = call.version > 0 ? static_cast<u32>(call.regs.r8) : td.num_vcpus.load();
        if (std::find(td.x2apic_ids.begin(), td.x2apic_ids.end(), id) != td.x2apic_ids.end())
            return TdxStatus::X2APIC_ID_NOT_UNIQUE;
        vcpu.index = td.num_vcpus++;
        vcpu.x2apic_id = id;
        td.x2apic_ids.push_back(id);
    }
    set_initial_state(vcpu, call.regs.rdx);
    vcpu.lp = static_cast<int>(call.lp.id());
    ++td.num_associated;
    vcpu.state = TdVcpuState::READY;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
