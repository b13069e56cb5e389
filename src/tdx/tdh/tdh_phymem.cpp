// SPDX-License-Identifier: Apache-2.0
// TDH.PHYMEM.PAGE.RDMD, RECLAIM and WBINVD: leaves that look at a page instead of a TD.
#include <algorithm>

#include "tdx/tdh/leaves.h"

namespace seamless::tdx {

using spec::TdLifecycle;
using spec::TdxPageType;

namespace {

void report_page(cpu::SeamRegs& regs, const LockedPage& page)
{
    const TdxPageType type = page.entry->type;
    const bool free = type == TdxPageType::NDA || type == TdxPageType::RSVD;
    regs.rcx = static_cast<u64>(type);
    regs.rdx = free ? 0 : page.entry->owner.value();
    regs.r8 = page.level;
}

// Frees a page of a TD that is being torn down, or its TDR page.
TdxStatus reclaim(SeamCall& call, LockedPage& page)
{
    TdxModule& module = call.module;
    const TdxPageType type = page.entry->type;
    if (type == TdxPageType::TDR) {
        Td& td = *static_cast<Td*>(page.entry->object);
        if (td.lifecycle != TdLifecycle::TEARDOWN)
            return TdxStatus::LIFECYCLE_STATE_INCORRECT;
        if (td.chldcnt != 0)
            return TdxStatus::TD_ASSOCIATED_PAGES_EXIST;
        report_page(call.regs, page);
        page.entry->object = nullptr;
        module.pamt().assign(page, TdxPageType::NDA, {});
        module.remove_td(td);
        return TdxStatus::SUCCESS;
    }
    const LockedPage tdr = module.pamt().lock(page.entry->owner, 0, LockMode::shared);
    if (!tdr.entry)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDR;
    Td& td = *static_cast<Td*>(tdr.entry->object);
    if (td.lifecycle != TdLifecycle::TEARDOWN)
        return TdxStatus::LIFECYCLE_STATE_INCORRECT;
    report_page(call.regs, page);
    if (type == TdxPageType::TDVPR) {
        const std::lock_guard guard(td.vcpus_mutex);
        std::erase_if(td.vcpus, [&](const auto& vcpu) { return vcpu.get() == page.entry->object; });
    }
    module.free_page(page, td);
    return TdxStatus::SUCCESS;
}

} // namespace

TdxStatus tdh_phymem_page_rdmd(SeamCall& call)
{
    cpu::SeamRegs& regs = call.regs;
    const u64 operand = regs.rcx;
    regs.rcx = regs.rdx = regs.r8 = regs.r9 = regs.r10 = regs.r11 = 0;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_any_page(operand, TdxOperand::RCX, LockMode::shared, page);
        s != TdxStatus::SUCCESS)
        return s;
    report_page(regs, page);
    const TdxPageType type = page.entry->type;
    if (type == TdxPageType::REG || type == TdxPageType::EPT)
        regs.r9 = page.entry->bepoch;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_phymem_page_reclaim(SeamCall& call)
{
    cpu::SeamRegs& regs = call.regs;
    const u64 operand = regs.rcx;
    regs.rcx = regs.rdx = regs.r8 = regs.r9 = regs.r10 = regs.r11 = 0;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_any_page(operand, TdxOperand::RCX, LockMode::exclusive, page);
        s != TdxStatus::SUCCESS)
        return s;
    const TdxPageType type = page.entry->type;
    if (type == TdxPageType::NDA || type == TdxPageType::RSVD || page.hpa.value() != operand) {
        regs.rcx = static_cast<u64>(type);
        return TdxStatus::PAGE_METADATA_INCORRECT | TdxOperand::RCX;
    }
    return reclaim(call, page);
}

TdxStatus tdh_phymem_page_wbinvd(SeamCall& call)
{
    LockedPage page;
    const u64 hpa = mem::without_hkid(Hpa(call.regs.rcx)).value(); // any key id will do
    if (const TdxStatus s = call.module.lock_any_page(hpa, TdxOperand::RCX, LockMode::shared, page);
        s != TdxStatus::SUCCESS)
        return s;
    if (page.entry->type != TdxPageType::NDA)
        return TdxStatus::PAGE_METADATA_INCORRECT | TdxOperand::RCX;
    return TdxStatus::SUCCESS; // caches of this host are coherent for every key
}

} // namespace seamless::tdx
