// SPDX-License-Identifier: Apache-2.0
// The guest state that VM entry loads and VM exit saves: one list for both. RSP is apart, for the VMCS holds
// it and the processor keeps it with the general registers.
#pragma once

#include <algorithm>
#include <cstddef>

#include "cpu/guest_context.h"
#include "cpu/state.h"
#include "cpu/vmx/vmcs.h"

namespace seamless::cpu {

// Calls move(where it is saved, where it lives) for each field.
template <typename Move>
void for_each_guest_field(Vmcs& v, GuestContext& c, CpuState& s, const Move& move)
{
    const auto each = [&move](auto& saved, auto& live) {
        for (std::size_t i = 0; i < std::size(saved); ++i)
            move(saved[i], live[i]);
    };
    each(c.gpr, s.gpr);
    each(v.seg, s.seg);
    each(c.dr, s.dr);
    move(v.rip, s.rip);
    move(v.rflags, s.rflags);
    move(v.gdtr, s.gdtr);
    move(v.idtr, s.idtr);
    move(v.cr0, s.cr0);
    move(c.cr2, s.cr2);
    move(v.cr3, s.cr3);
    move(v.cr4, s.cr4);
    move(c.cr8, s.cr8);
    move(c.dr6, s.dr6);
    move(v.dr7, s.dr7);
    move(v.efer, s.efer);
    move(v.pat, s.pat);
    move(v.debugctl, s.debugctl);
    move(c.star, s.star);
    move(c.lstar, s.lstar);
    move(c.cstar, s.cstar);
    move(c.fmask, s.fmask);
    move(c.kernel_gs_base, s.kernel_gs_base);
    move(c.tsc_aux, s.tsc_aux);
    move(c.spec_ctrl, s.spec_ctrl);
    move(v.sysenter_cs, s.sysenter_cs);
    move(v.sysenter_esp, s.sysenter_esp);
    move(v.sysenter_eip, s.sysenter_eip);
    move(c.xcr0, s.xcr0);
    move(c.xss, s.xss);
    move(c.pkru, s.pkru);
    move(v.interruptibility, s.interruptibility);
    move(v.activity, s.activity);
}

} // namespace seamless::cpu
