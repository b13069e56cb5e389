// SPDX-License-Identifier: Apache-2.0
// TDH.MNG.CREATE, KEY.CONFIG, ADDCX: a TD gets its root page, its key and its control pages.
#include <cstring>

#include "mem/guest_access.h"
#include "tdx/sept.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {

using spec::TdLifecycle;
using spec::TdOpState;
using spec::TdxPageType;

TdxStatus tdh_mng_create(SeamCall& call)
{
    TdxModule& module = call.module;
    LockedPage page;
    if (const TdxStatus s =
            module.lock_page(call.regs.rcx, TdxOperand::RCX, LockMode::exclusive, TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    const u64 hkid = call.regs.rdx;
    if (hkid < kFirstPrivateHkid || hkid >= kHkids)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    const Held kot(module.kot_lock, LockMode::exclusive);
    if (!kot)
        return TdxStatus::OPERAND_BUSY | TdxOperand::KOT;
    if (module.hkids[hkid] != HkidState::FREE)
        return TdxStatus::HKID_NOT_FREE | TdxOperand::RDX;
    u8 uuid[sizeof(Td::uuid)];
    if (!module.random().fill(uuid))
        return TdxStatus::RND_NO_ENTROPY;
    mem::zero(page.hpa, kPageSize);
    Td& td = module.add_td(page.hpa);
    std::memcpy(td.uuid, uuid, sizeof(uuid));
    td.hkid = static_cast<u16>(hkid);
    module.hkids[hkid] = HkidState::ASSIGNED;
    module.pamt().assign(page, TdxPageType::TDR, page.hpa);
    page.entry->object = &td;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mng_key_config(SeamCall& call)
{
    Td& td = *call.td;
    if (td.fatal)
        return TdxStatus::TD_FATAL;
    // One package: the first call configures the key everywhere, the next finds that done.
    if (td.lifecycle == TdLifecycle::KEYS_CONFIGURED)
        return TdxStatus::KEY_CONFIGURED;
    if (td.lifecycle != TdLifecycle::HKID_ASSIGNED)
        return TdxStatus::LIFECYCLE_STATE_INCORRECT;
    td.lifecycle = TdLifecycle::KEYS_CONFIGURED;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mng_addcx(SeamCall& call)
{
    Td& td = *call.td;
    if (td.fatal)
        return TdxStatus::TD_FATAL;
    if (td.lifecycle != TdLifecycle::KEYS_CONFIGURED)
        return TdxStatus::TD_KEYS_NOT_CONFIGURED;
    if (td.op_state != TdOpState::UNINITIALIZED)
        return TdxStatus::OP_STATE_INCORRECT;
    if (td.num_tdcx == spec::kTdcsPages)
        return TdxStatus::TDCX_NUM_INCORRECT;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_page(call.regs.rcx, TdxOperand::RCX, LockMode::exclusive,
                                                  TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    if (td.num_tdcx == kTdcsMsrBitmap)
        std::memset(mem::host_ptr(page.hpa), 0xff, kPageSize); // every MSR exits until MNG.INIT knows better
    else if (td.num_tdcx == kTdcsSeptRoot)
        sept::fill_free(page.hpa);
    else
        mem::zero(page.hpa, kPageSize);
    call.module.take_page(page, TdxPageType::TDCX, td);
    td.tdcx[td.num_tdcx++] = page.hpa;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
