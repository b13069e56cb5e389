// SPDX-License-Identifier: Apache-2.0
// Checks shared by the TDH.MEM leaves. TDX ABI: "Secure EPT: common operand checks", "TLB Tracking".
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

TdxStatus parse_gpa(const SeamCall& call, unsigned min_level, unsigned max_level, MemOperand& out)
{
    const u64 rcx = call.regs.rcx;
    out = {.gpa = rcx & bits(51, 12), .level = static_cast<unsigned>(field(rcx, 2, 0))};
    const bool ok = (rcx & (bits(11, 3) | bits(63, 52))) == 0 && out.level >= min_level &&
                    out.level <= max_level && aligned(out.gpa, spec::ept::level_size(out.level)) &&
                    call.td->private_gpa(out.gpa);
    return ok ? TdxStatus::SUCCESS : TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
}

TdxStatus with_entry(SeamCall& call, const sept::Position& at, TdxStatus status)
{
    call.regs.rcx = sept::host_view(at.entry);
    call.regs.rdx = sept::host_info(at);
    return status;
}

TdxStatus walk_to(SeamCall& call, const MemOperand& operand, sept::Position& at)
{
    at = sept::walk(*call.td, operand.gpa, operand.level);
    return at.reached ? TdxStatus::SUCCESS
                      : with_entry(call, at, TdxStatus::EPT_WALK_FAILED | TdxOperand::RCX);
}

PamtEntry& target_entry(const SeamCall& call, const sept::Position& at)
{
    const unsigned level = sept::is_leaf(at.state()) ? at.level : 0;
    return call.module.pamt().entry(mem::without_hkid(sept::target(at.entry)), level);
}

bool tlb_tracked(const Td& td, u64 bepoch)
{
    return bepoch + 1 < td.td_epoch || (bepoch + 1 == td.td_epoch && td.refcount[bepoch & 1] == 0);
}

} // namespace seamless::tdx
