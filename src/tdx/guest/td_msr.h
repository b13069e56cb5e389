// SPDX-License-Identifier: Apache-2.0
// MSRs of a TD: which the processor handles, which the module answers, and which raise #VE or #GP.
// TDX ABI: "MSR Virtualization".
#pragma once

#include "base/address.h"
#include "tdx/td.h"

namespace seamless::tdx {

enum class MsrAction : u8 {
    native, // no exit
    ve,
    gp,
    value, // the module answers, or checks what is written
};

// The feature whose absence turns #VE into #GP.
enum class MsrIf : u8 {
    always,
    not_reduced,
    est,
    tm2,
    dca,
    tsc_deadline,
    mtrr,
    mca,
    acpi,
    rdt_m,
    rdt_a,
    tme,
    pconfig,
    core_cap,
    perfmon,
    pks,
    uintr,
    cet,
    xfd,
    waitpkg
};

struct MsrRow {
    u32 first, last;
    MsrAction read, write;
    MsrIf condition = MsrIf::always;
    MsrAction reduced_read = MsrAction::gp, reduced_write = MsrAction::gp; // of not_reduced, with REDUCE_VE
};

// The row of `msr`, or nullptr.
[[nodiscard]] const MsrRow* find_msr(u32 msr);
// The action of an access in this TD, its condition applied.
[[nodiscard]] MsrAction msr_action(const Td& td, u32 msr, bool write);
// Clears the bits of the bitmap page for the MSRs that do not exit in this TD.
void build_msr_bitmap(const Td& td, Hpa page);

} // namespace seamless::tdx
