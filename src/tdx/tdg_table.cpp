// SPDX-License-Identifier: Apache-2.0
// The table of TDCALL leaves and their dispatch. TDX ABI: "TDCALL (TDG) Interface Functions".
#include "base/row_index.h"
#include "base/table.h"
#include "mem/guest_access.h"
#include "tdx/tdg/leaves.h"
#include "trace/trace.h"

namespace seamless::tdx {
namespace {

using namespace spec;

constexpr u16 n(TdgLeaf leaf) { return static_cast<u16>(leaf); }

// clang-format off
constexpr TdgRow kRows[] = {
    {n(TdgLeaf::VP_VMCALL),          "TDG.VP.VMCALL",        tdg_vp_vmcall},
    {n(TdgLeaf::VP_INFO),            "TDG.VP.INFO",          tdg_vp_info},
    {n(TdgLeaf::MR_RTMR_EXTEND),     "TDG.MR.RTMR.EXTEND",   tdg_mr_rtmr_extend},
    {n(TdgLeaf::VP_VEINFO_GET),      "TDG.VP.VEINFO.GET",    tdg_vp_veinfo_get, 1},
    {n(TdgLeaf::MR_REPORT),          "TDG.MR.REPORT",        tdg_mr_report},
    {n(TdgLeaf::VP_CPUIDVE_SET),     "TDG.VP.CPUIDVE.SET",   tdg_vp_cpuidve_set},
    {n(TdgLeaf::MEM_PAGE_ACCEPT),    "TDG.MEM.PAGE.ACCEPT",  tdg_mem_page_accept},
    {n(TdgLeaf::VM_RD),              "TDG.VM.RD",            tdg_vm_rd, 1},
    {n(TdgLeaf::VM_WR),              "TDG.VM.WR",            tdg_vm_wr},
    {n(TdgLeaf::VP_RD),              "TDG.VP.RD",            tdg_vp_rd},
    {n(TdgLeaf::VP_WR),              "TDG.VP.WR",            tdg_vp_wr},
    {n(TdgLeaf::SYS_RD),             "TDG.SYS.RD",           tdg_sys_rd},
    {n(TdgLeaf::SYS_RDALL),          "TDG.SYS.RDALL",        tdg_sys_rdall},
    {n(TdgLeaf::MR_VERIFYREPORT),    "TDG.MR.VERIFYREPORT",  tdg_mr_verifyreport},
    {n(TdgLeaf::MEM_PAGE_ATTR_RD),   "TDG.MEM.PAGE.ATTR.RD", tdg_mem_page_attr_rd},
    {n(TdgLeaf::MEM_PAGE_ATTR_WR),   "TDG.MEM.PAGE.ATTR.WR", tdg_mem_page_attr_wr},
};
// clang-format on
static_assert(strictly_ascending(kRows, &TdgRow::number));
constexpr auto kIndex = base::index_rows<64>(kRows, &TdgRow::number);

TdgOutcome run_leaf(TdgCall& call, const TdgRow* row, u64 rax)
{
    if (!row || field(rax, 63, 24) != 0 || call.version > row->max_version)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RAX;
    return row->run(call);
}

} // namespace

std::span<const TdgRow> tdg_rows() { return kRows; }

const TdgRow* find_tdg(u64 number)
{
    return number > 0xffff ? nullptr : kIndex.find(static_cast<u16>(number));
}

After handle_tdcall(GuestRun& run)
{
    cpu::GuestContext& c = run.context();
    const Segment& cs = run.vmcs().seg[static_cast<unsigned>(Seg::cs)];
    if (!(run.vmcs().efer & efer::LMA) || !(cs.ar & segment_ar::L)) {
        inject(run, Vector::GP, 0);
        return After::resume;
    }
    const u64 rax = c[Gpr::rax], rcx = c[Gpr::rcx], rdx = c[Gpr::rdx], r8 = c[Gpr::r8], r9 = c[Gpr::r9];
    const TdgRow* row = find_tdg(leaf_of(rax));
    const char* name = row ? row->name : "UNKNOWN";
    TdgCall call{.run = run, .version = version_of(rax)};
    const TdgOutcome outcome = run_leaf(call, row, rax);
    if (!outcome.completed) { // TDG.VP.VMCALL on its way to the host has no status yet; others will be
                              // executed again
        if (row->number == n(TdgLeaf::VP_VMCALL))
            TRACE(run.lp.trace, trace::Event::tdx_tdcall, name, trace::Absent{}, rcx, rdx, r8, r9);
        return outcome.after;
    }
    c[Gpr::rax] = static_cast<u64>(outcome.status);
    advance_rip(run);
    TRACE(run.lp.trace, trace::Event::tdx_tdcall, name, c[Gpr::rax], rcx, rdx, r8, r9);
    return After::resume;
}

std::optional<TdgOutcome> guest_operand(TdgCall& call, u64 gpa, paging::Access access, Hpa& hpa)
{
    GuestRun& run = call.run;
    const paging::EptWalk walk = paging::walk_ept(run.vcpu.ept_root(), Gpa(gpa), access);
    if (walk.outcome == paging::EptWalk::Outcome::ok) {
        hpa = mem::without_hkid(walk.hpa);
        return std::nullopt;
    }
    if (walk.outcome == paging::EptWalk::Outcome::misconfig)
        return async_exit(run, {.reason = static_cast<u32>(ExitReason::EPT_MISCONFIG), .gpa = gpa});
    const u64 qualification = (access == paging::Access::write ? ept::qual::WRITE : ept::qual::READ) |
                              (walk.permissions & ept::RWX) << 3;
    if (walk.shared && !walk.suppress_ve() && run.vcpu.ve_info().valid == 0)
        return inject_ve(run,
                         {.reason = ExitReason::EPT_VIOLATION, .qualification = qualification, .gpa = gpa});
    return reflect_ept_violation(run, gpa, 0, qualification);
}

} // namespace seamless::tdx
