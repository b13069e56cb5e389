// SPDX-License-Identifier: Apache-2.0
// TDG.VM.RD, VM.WR, VP.RD, VP.WR, SYS.RD, SYS.RDALL: the guest's accesses to metadata.
#include "mem/guest_access.h"
#include "tdx/metadata.h"
#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using spec::Gpr;

TdgOutcome tdg_vm_rd(TdgCall& call)
{
    GuestRun& run = call.run;
    const u64 id = call.reg(Gpr::rdx);
    call.reg(Gpr::r8) = 0;
    if (call.reg(Gpr::rcx) != 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (call.version > 0 && id == spec::md::kFirst) {
        call.reg(Gpr::rdx) = next_td_field(run.td, id);
        return TdxStatus::METADATA_FIRST_FIELD_ID_IN_CONTEXT;
    }
    const MdValue found = read_td_field(run.module, run.td, id, MdCaller::guest);
    if (call.version > 0)
        call.reg(Gpr::rdx) =
            found.status == TdxStatus::SUCCESS ? next_td_field(run.td, id) : spec::md::kFirst;
    call.reg(Gpr::r8) = found.value;
    return found.status;
}

TdgOutcome tdg_vm_wr(TdgCall& call)
{
    const u64 data = call.reg(Gpr::r8), mask = call.reg(Gpr::r9);
    call.reg(Gpr::r8) = 0;
    if (call.reg(Gpr::rcx) != 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    const MdValue before = write_td_field(call.run.td, call.reg(Gpr::rdx), data, mask, MdCaller::guest);
    call.reg(Gpr::r8) = before.value;
    return before.status;
}

TdgOutcome tdg_vp_rd(TdgCall& call)
{
    const MdValue found = read_vcpu_field(call.run.vcpu, call.reg(Gpr::rdx), MdCaller::guest);
    call.reg(Gpr::r8) = found.value;
    return found.status;
}

TdgOutcome tdg_vp_wr(TdgCall& call)
{
    const u64 data = call.reg(Gpr::r8), mask = call.reg(Gpr::r9);
    const MdValue before = write_vcpu_field(call.run.vcpu, call.reg(Gpr::rdx), data, mask, MdCaller::guest);
    call.reg(Gpr::r8) = before.value;
    return before.status;
}

TdgOutcome tdg_sys_rd(TdgCall& call)
{
    TdxModule& module = call.run.module;
    const u64 id = call.reg(Gpr::rdx);
    call.reg(Gpr::rdx) = spec::md::kFirst;
    call.reg(Gpr::r8) = 0;
    if (id == spec::md::kFirst) {
        call.reg(Gpr::rdx) = next_sys_field(module, id);
        return TdxStatus::METADATA_FIRST_FIELD_ID_IN_CONTEXT;
    }
    const MdValue found = read_sys_field(module, id);
    if (found.status == TdxStatus::SUCCESS)
        call.reg(Gpr::rdx) = next_sys_field(module, id);
    call.reg(Gpr::r8) = found.value;
    return found.status;
}

TdgOutcome tdg_sys_rdall(TdgCall& call)
{
    const u64 gpa = call.reg(Gpr::rdx), id = call.reg(Gpr::r8);
    if (!aligned(gpa, kPageSize) || !call.run.td.private_gpa(gpa)) {
        call.reg(Gpr::r8) = spec::md::kFirst;
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    }
    Hpa page;
    if (const auto stopped = guest_operand(call, gpa, paging::Access::write, page))
        return *stopped;
    u64 list[kPageSize / sizeof(u64)] = {};
    const MdList result = list_sys_fields(call.run.module, id, list);
    call.reg(Gpr::r8) = result.next;
    if (result.status != TdxStatus::METADATA_FIELD_ID_INCORRECT)
        mem::copy_to(page, {reinterpret_cast<const u8*>(list), field(list[0], 15, 0)});
    return result.status;
}

} // namespace seamless::tdx
