// SPDX-License-Identifier: Apache-2.0
// TDH.VP.FLUSH, MNG.VPFLUSHDONE, PHYMEM.CACHE.WB, MNG.KEY.RECLAIMID, KEY.FREEID: a TD stops and gives its key
// back.
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {

using spec::TdLifecycle;

TdxStatus tdh_vp_flush(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    if (vcpu.lp != static_cast<int>(call.lp.id()))
        return TdxStatus::VCPU_NOT_ASSOCIATED;
    call.lp.invept_single(vcpu.td.eptp());
    vcpu.lp = kNoLp;
    --vcpu.td.num_associated;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mng_vpflushdone(SeamCall& call)
{
    Td& td = *call.td;
    const Held kot(call.module.kot_lock, LockMode::exclusive);
    if (!kot)
        return TdxStatus::OPERAND_BUSY | TdxOperand::KOT;
    if (td.lifecycle != TdLifecycle::HKID_ASSIGNED && td.lifecycle != TdLifecycle::KEYS_CONFIGURED)
        return TdxStatus::LIFECYCLE_STATE_INCORRECT;
    if (td.num_associated != 0)
        return TdxStatus::FLUSHVP_NOT_DONE;
    td.lifecycle = TdLifecycle::BLOCKED;
    call.module.hkids[td.hkid] = HkidState::FLUSHED;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_phymem_cache_wb(SeamCall& call)
{
    TdxModule& module = call.module;
    if (call.regs.rcx > 1)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    const Held wbcache(module.wbcache_lock, LockMode::exclusive);
    if (!wbcache)
        return TdxStatus::OPERAND_BUSY | TdxOperand::WBCACHE;
    if (call.regs.rcx == 1) // this module never stops half way, so there is nothing to resume
        return TdxStatus::WBCACHE_RESUME_ERROR;
    const Held kot(module.kot_lock, LockMode::exclusive);
    if (!kot)
        return TdxStatus::OPERAND_BUSY | TdxOperand::KOT;
    bool any = false;
    for (HkidState& state : module.hkids)
        if (state == HkidState::FLUSHED)
            state = HkidState::WBCACHED, any = true;
    return any ? TdxStatus::SUCCESS : TdxStatus::NO_HKID_READY_TO_WBCACHE;
}

// What it once did happens in the leaves around it: it stayed for hosts that call it, and looks at nothing.
TdxStatus tdh_mng_key_reclaimid(SeamCall&) { return TdxStatus::SUCCESS; }

TdxStatus tdh_mng_key_freeid(SeamCall& call)
{
    Td& td = *call.td;
    const Held kot(call.module.kot_lock, LockMode::exclusive);
    if (!kot)
        return TdxStatus::OPERAND_BUSY | TdxOperand::KOT;
    if (td.lifecycle != TdLifecycle::BLOCKED)
        return TdxStatus::LIFECYCLE_STATE_INCORRECT;
    if (call.module.hkids[td.hkid] != HkidState::WBCACHED)
        return TdxStatus::WBCACHE_NOT_COMPLETE;
    call.module.hkids[td.hkid] = HkidState::FREE;
    td.lifecycle = TdLifecycle::TEARDOWN;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
