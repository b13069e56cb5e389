// SPDX-License-Identifier: Apache-2.0
// The TDCALL leaves, and the row that describes each.
#pragma once

#include "paging/ept_walk.h"
#include "tdx/guest/run.h"
#include "tdx/sept.h"

namespace seamless::tdx {

using spec::TdxOperand;

// A completed TDCALL has a status for the guest's RAX. One that does not complete leaves RIP where it is: the
// TD exits, or an exception is delivered, and the guest executes TDCALL again.
struct TdgOutcome {
    TdgOutcome(TdxStatus s) : completed(true), status(s) {}
    TdgOutcome(After a) : completed(false), after(a) {}

    bool completed;
    TdxStatus status = TdxStatus::SUCCESS;
    After after = After::resume;
};

struct TdgCall {
    GuestRun& run;
    unsigned version = 0;

    [[nodiscard]] u64& reg(spec::Gpr r) { return run.context()[r]; }
};

struct TdgRow {
    u16 number;
    const char* name;
    TdgOutcome (*run)(TdgCall&);
    u8 max_version = 0;
};

[[nodiscard]] std::span<const TdgRow> tdg_rows();
[[nodiscard]] const TdgRow* find_tdg(u64 number);

// The memory behind a GPA operand; an outcome if the guest's EPT stops the access.
[[nodiscard]] std::optional<TdgOutcome> guest_operand(TdgCall& call, u64 gpa, paging::Access access,
                                                      Hpa& hpa);

// A TD exit because of the secure EPT entry at which the walk to `level` ended: the host may be able to help.
[[nodiscard]] TdgOutcome exit_for_entry(TdgCall& call, u64 gpa, unsigned level, const sept::Position& at,
                                        spec::ExtendedExitQual type);

TdgOutcome tdg_vp_vmcall(TdgCall&);
TdgOutcome tdg_vp_info(TdgCall&);
TdgOutcome tdg_mr_rtmr_extend(TdgCall&);
TdgOutcome tdg_vp_veinfo_get(TdgCall&);
TdgOutcome tdg_mr_report(TdgCall&);
TdgOutcome tdg_vp_cpuidve_set(TdgCall&);
TdgOutcome tdg_mem_page_accept(TdgCall&);
TdgOutcome tdg_mem_page_attr_rd(TdgCall&);
TdgOutcome tdg_mem_page_attr_wr(TdgCall&);
TdgOutcome tdg_vm_rd(TdgCall&);
TdgOutcome tdg_vm_wr(TdgCall&);
TdgOutcome tdg_vp_rd(TdgCall&);
TdgOutcome tdg_vp_wr(TdgCall&);
TdgOutcome tdg_sys_rd(TdgCall&);
TdgOutcome tdg_sys_rdall(TdgCall&);
TdgOutcome tdg_mr_verifyreport(TdgCall&);

} // namespace seamless::tdx
