// SPDX-License-Identifier: Apache-2.0
// Checks shared by the TDH.MEM leaves. TDX ABI: "Secure EPT: common operand checks", "TLB Tracking".
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {
namespace {

bool parse_rcx(SeamCall& call, const SeptRule& rule)
{
    const u64 rcx = call.regs.rcx;
    if (rule.granule != 0) {
        call.gpa = rcx;
        return aligned<u64>(rcx, rule.granule) && call.td->private_gpa(rcx);
    }
    call.gpa = rcx & bits(51, 12);
    call.level = static_cast<unsigned>(field(rcx, 2, 0));
    const unsigned top = call.td->ept_levels() - 1;
    return (rcx & (bits(11, 3) | bits(63, 52))) == 0 && call.level >= rule.min_level &&
           call.level <= (rule.max_level == SeptRule::kTop ? top : rule.max_level) &&
           aligned(call.gpa, spec::ept::level_size(call.level)) && call.td->private_gpa(call.gpa);
}

bool host_page_ok(u64 hpa)
{
    return hpa != 0 && aligned(hpa, kPageSize) &&
           !(hpa & (mem::kHkidMask | bits(63, mem::kMaxPhysicalAddress)));
}

// What was blocked in `bepoch` can no longer be in any TLB.
bool tlb_tracked(const Td& td, u64 bepoch)
{
    return bepoch + 1 < td.td_epoch || (bepoch + 1 == td.td_epoch && td.refcount[bepoch & 1] == 0);
}

} // namespace

TdxStatus check_operands(SeamCall& call, const SeptRule& rule)
{
    if (rule.debug && !call.td->debug())
        return TdxStatus::TD_NON_DEBUG;
    if (!parse_rcx(call, rule))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (rule.new_page != NewPage::none) {
        const unsigned level = rule.new_page == NewPage::of_level ? call.level : 0;
        if (const TdxStatus s = call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive,
                                                      spec::TdxPageType::NDA, call.new_page, level);
            s != TdxStatus::SUCCESS)
            return s;
    }
    if (rule.source_page && !host_page_ok(call.regs.r9))
        return TdxStatus::OPERAND_INVALID | TdxOperand::R9;
    return TdxStatus::SUCCESS;
}

TdxStatus find_entry(SeamCall& call, const SeptRule& rule)
{
    call.at = sept::walk(*call.td, call.gpa, call.level);
    const bool found = call.at.reached || (rule.in_large_page && sept::is_leaf(call.at.state()));
    if (!found)
        return entry_error(call, rule.no_entry);
    if (rule.states == 0)
        return TdxStatus::SUCCESS;
    call.entry.emplace(call.at);
    if (!*call.entry)
        return entry_error(call, TdxStatus::OPERAND_BUSY);
    if (!(rule.states & sept_states(call.at.state())))
        return entry_error(call, rule.wrong_state);
    return rule.tracked ? check_tracked(call) : TdxStatus::SUCCESS;
}

TdxStatus entry_error(SeamCall& call, TdxStatus status)
{
    call.regs.rcx = sept::host_view(call.at.entry);
    call.regs.rdx = sept::host_info(call.at);
    return status | TdxOperand::RCX;
}

TdxStatus done(SeamCall& call, u64 rcx)
{
    call.regs.rcx = rcx;
    call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

TdxStatus check_tracked(SeamCall& call)
{
    if (!call.td->tlb_tracking_required())
        return TdxStatus::SUCCESS;
    if (!sept::is_blocked(call.at.state()))
        return entry_error(call, TdxStatus::GPA_RANGE_NOT_BLOCKED);
    if (!tlb_tracked(*call.td, target_entry(call).bepoch))
        return entry_error(call, TdxStatus::TLB_TRACKING_NOT_DONE);
    return TdxStatus::SUCCESS;
}

Hpa target_page(const SeamCall& call) { return mem::without_hkid(sept::target(call.at.entry)); }

PamtEntry& target_entry(const SeamCall& call)
{
    return call.module.pamt().entry(target_page(call), sept::is_leaf(call.at.state()) ? call.at.level : 0);
}

TdxStatus lock_target(SeamCall& call, LockedPage& page)
{
    const unsigned level = sept::is_leaf(call.at.state()) ? call.at.level : 0;
    page = call.module.pamt().lock(target_page(call), level, LockMode::exclusive);
    return page.entry ? TdxStatus::SUCCESS : entry_error(call, TdxStatus::OPERAND_BUSY);
}

} // namespace seamless::tdx
