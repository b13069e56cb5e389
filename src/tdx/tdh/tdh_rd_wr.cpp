// SPDX-License-Identifier: Apache-2.0
// TDH.SYS.RD, SYS.RDALL, MNG.RD, VP.RD, VP.WR: the host's accesses to metadata.
#include "mem/guest_access.h"
#include "tdx/metadata.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

// VP.RD and VP.WR need a whole TDVPS and bind the vCPU to this processor.
TdxStatus prepare_vcpu(SeamCall& call, bool disabled_ok)
{
    if (!call.vcpu->complete())
        return TdxStatus::TDCX_NUM_INCORRECT;
    const spec::TdVcpuState state = call.vcpu->state;
    const bool usable = state == spec::TdVcpuState::READY || state == spec::TdVcpuState::ACTIVE ||
                        (disabled_ok && state == spec::TdVcpuState::DISABLED);
    if (!usable)
        return TdxStatus::VCPU_STATE_INCORRECT | static_cast<u32>(state);
    return associate(call);
}

// Finishes a read whose version 1 also tells the next field.
TdxStatus finish_read(SeamCall& call, const MdValue& found, u64 next)
{
    if (call.version > 0)
        call.regs.rdx = found.status == TdxStatus::SUCCESS ? next : ~u64{0};
    call.regs.r8 = found.value;
    return found.status;
}

bool lp_initialized(SeamCall& call)
{
    const std::lock_guard guard(call.module.lp_mutex);
    return call.module.lp_initialized[call.lp.id()];
}

TdxStatus first_field(SeamCall& call, u64 id)
{
    call.regs.rdx = id;
    call.regs.r8 = 0;
    return TdxStatus::METADATA_FIRST_FIELD_ID_IN_CONTEXT;
}

} // namespace

TdxStatus tdh_sys_rd(SeamCall& call)
{
    TdxModule& module = call.module;
    const u64 id = call.regs.rdx;
    call.regs.rdx = ~u64{0};
    call.regs.r8 = 0;
    if (!lp_initialized(call))
        return TdxStatus::SYS_LP_INIT_NOT_DONE;
    if (id == spec::md::kFirst)
        return first_field(call, next_sys_field(module, id));
    const MdValue found = read_sys_field(module, id);
    if (found.status != TdxStatus::SUCCESS)
        return found.status;
    call.regs.rdx = next_sys_field(module, id);
    call.regs.r8 = found.value;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_sys_rdall(SeamCall& call)
{
    const u64 page = call.regs.rdx, id = call.regs.r8;
    call.regs.r8 = spec::md::kFirst;
    if (!lp_initialized(call))
        return TdxStatus::SYS_LP_INIT_NOT_DONE;
    if (!call.module.shared_operand_ok(page, kPageSize, kPageSize))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    u64 list[kPageSize / sizeof(u64)] = {};
    const MdList result = list_sys_fields(call.module, id, list);
    call.regs.r8 = result.next;
    if (result.status != TdxStatus::METADATA_FIELD_ID_INCORRECT)
        mem::copy_to(Hpa(page), {reinterpret_cast<const u8*>(list), field(list[0], 15, 0)});
    return result.status;
}

TdxStatus tdh_mng_rd(SeamCall& call)
{
    const u64 id = call.regs.rdx;
    if (call.version > 0 && id == spec::md::kFirst)
        return first_field(call, next_td_field(*call.td, id));
    return finish_read(call, read_td_field(call.module, *call.td, id, MdCaller::host),
                       next_td_field(*call.td, id));
}

TdxStatus tdh_mng_wr(SeamCall& call)
{
    cpu::SeamRegs& regs = call.regs;
    const MdValue before = write_td_field(*call.td, regs.rdx, regs.r8, regs.r9, MdCaller::host);
    regs.r8 = before.value;
    return before.status;
}

TdxStatus tdh_vp_rd(SeamCall& call)
{
    const u64 id = call.regs.rdx;
    if (const TdxStatus s = prepare_vcpu(call, true); s != TdxStatus::SUCCESS) {
        if (call.version > 0)
            call.regs.rdx = ~u64{0};
        return s;
    }
    if (call.version > 0 && id == spec::md::kFirst)
        return first_field(call, next_vcpu_field(id));
    return finish_read(call, read_vcpu_field(*call.vcpu, id), next_vcpu_field(id));
}

TdxStatus tdh_vp_wr(SeamCall& call)
{
    cpu::SeamRegs& regs = call.regs;
    if (const TdxStatus s = prepare_vcpu(call, false); s != TdxStatus::SUCCESS)
        return s;
    const MdValue before = write_vcpu_field(*call.vcpu, regs.rdx, regs.r8, regs.r9);
    regs.r8 = before.value;
    return before.status;
}

} // namespace seamless::tdx
