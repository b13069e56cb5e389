// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.SEPT.RD, and TDH.MEM.RD and MEM.WR, with which the host of a debug TD looks into its memory.
#include "mem/guest_access.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {
namespace {

// The quadword that RCX names. Its entry is locked, so that the page stays.
Hpa quadword(const SeamCall& call)
{
    return target_page(call) + (call.gpa & (spec::ept::level_size(call.at.level) - 1));
}

} // namespace

TdxStatus tdh_mem_sept_rd(SeamCall& call)
{
    call.regs.rcx = sept::host_view(call.at.entry);
    call.regs.rdx = sept::host_info(call.at);
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_rd(SeamCall& call)
{
    call.regs.r8 = mem::load<u64>(quadword(call));
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_wr(SeamCall& call)
{
    call.regs.r8 = __atomic_exchange_n(mem::host_ptr<u64>(quadword(call)), call.regs.r8, __ATOMIC_SEQ_CST);
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
