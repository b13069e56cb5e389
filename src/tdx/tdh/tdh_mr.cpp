// SPDX-License-Identifier: Apache-2.0
// TDH.MR.EXTEND and TDH.MR.FINALIZE: the build-time measurement, and the TD becomes runnable.
#include "tdx/mrtd.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

TdxStatus tdh_mr_extend(SeamCall& call)
{
    const Hpa chunk = target_page(call) + (call.gpa & kPageMask);
    measure_extend(*call.td->mrtd_context, call.gpa,
                   std::span<const u8, kMrExtendBytes>(mem::host_ptr<u8>(chunk), kMrExtendBytes));
    return done(call);
}

TdxStatus tdh_mr_finalize(SeamCall& call)
{
    Td& td = *call.td;
    td.mrtd = td.mrtd_context->finish();
    td.mrtd_context.reset();
    td.op_state = spec::TdOpState::RUNNABLE; // SERVTD_HASH stays zero: no service TD can be bound
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
