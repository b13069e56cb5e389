// SPDX-License-Identifier: Apache-2.0
// Architectural state of a logical processor while it runs a guest. Translated code reaches it through GS.
#pragma once

#include "cpu/guest_context.h"
#include "spec/vmx.h"
#include "spec/x86.h"

namespace seamless::cpu {

struct CpuState {
    u64 gpr[spec::kGprCount] = {};
    u64 rip = 0;
    u64 rflags = spec::rflags::FIXED1; // exact while no translated code runs
    spec::Segment seg[spec::kSegCount];
    spec::DescriptorTable gdtr;
    spec::DescriptorTable idtr;
    u64 cr0 = 0;
    u64 cr2 = 0;
    u64 cr3 = 0;
    u64 cr4 = 0;
    u64 cr8 = 0;
    u64 dr[4] = {};
    u64 dr6 = spec::dr6::kReset;
    u64 dr7 = spec::dr7::kReset;
    u64 efer = 0;
    u64 pat = spec::kPatReset;
    u64 debugctl = 0;
    u64 star = 0;
    u64 lstar = 0;
    u64 cstar = 0;
    u64 fmask = 0;
    u64 kernel_gs_base = 0;
    u64 tsc_aux = 0;
    u64 spec_ctrl = 0;
    u64 sysenter_cs = 0;
    u64 sysenter_esp = 0;
    u64 sysenter_eip = 0;
    u64 xcr0 = 1;
    u64 xss = 0;
    u32 pkru = 0;
    u32 interruptibility = 0;
    spec::Activity activity = spec::Activity::active;

    [[nodiscard]] spec::Segment& segment(spec::Seg s) { return seg[static_cast<unsigned>(s)]; }
    [[nodiscard]] const spec::Segment& segment(spec::Seg s) const { return seg[static_cast<unsigned>(s)]; }
    [[nodiscard]] u64& reg(spec::Gpr r) { return gpr[static_cast<unsigned>(r)]; }
    [[nodiscard]] u64 reg(spec::Gpr r) const { return gpr[static_cast<unsigned>(r)]; }

    // CPL is the DPL of SS. SDM: "Privilege Levels", VMCS "Guest Register State".
    [[nodiscard]] unsigned cpl() const { return spec::segment_ar::dpl(segment(spec::Seg::ss).ar); }
    [[nodiscard]] bool long_mode() const { return efer & spec::efer::LMA; }
    [[nodiscard]] bool code64() const
    {
        return long_mode() && (segment(spec::Seg::cs).ar & spec::segment_ar::L);
    }
    [[nodiscard]] bool code32() const { return segment(spec::Seg::cs).ar & spec::segment_ar::DB; }
    [[nodiscard]] bool paging() const { return cr0 & spec::cr0::PG; }
    [[nodiscard]] bool protected_mode() const { return cr0 & spec::cr0::PE; }
};

} // namespace seamless::cpu
