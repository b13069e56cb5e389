// SPDX-License-Identifier: Apache-2.0
// VM entry: checks, and loading the guest. SDM: "VM Entries".
#include "cpu/core.h"

namespace seamless::cpu {
namespace {

using namespace spec;

// SDM: "Checks on the Guest-State Area", as far as this processor depends on them.
bool guest_state_valid(const Vmcs& v)
{
    if (!(v.proc_based & proc::SECONDARY_CONTROLS) || !(v.proc_based2 & proc2::EPT))
        return false;
    const unsigned levels = ept::eptp_levels(v.ept_pointer);
    if ((v.ept_pointer & 7) != ept::EPTP_WB || levels < 4 || levels > 5)
        return false;
    if ((v.cr0 & cr0::PG) && !(v.cr0 & cr0::PE))
        return false;
    if (!(v.rflags & rflags::FIXED1))
        return false;
    const bool lma = v.efer & efer::LMA;
    if (lma && !((v.efer & efer::LME) && (v.cr0 & cr0::PG) && (v.cr4 & cr4::PAE)))
        return false;
    return (v.activity == Activity::active || v.activity == Activity::hlt);
}

} // namespace

bool Core::load_guest(Vmcs& v, GuestContext& c)
{
    if (!guest_state_valid(v))
        return false;
    CpuState& s = frame_.state;
    for (unsigned i = 0; i < kGprCount; ++i)
        s.gpr[i] = c.gpr[i];
    s.reg(Gpr::rsp) = v.rsp;
    s.rip = v.rip;
    s.rflags = v.rflags;
    for (unsigned i = 0; i < kSegCount; ++i)
        s.seg[i] = v.seg[i];
    s.gdtr = v.gdtr;
    s.idtr = v.idtr;
    s.cr0 = v.cr0;
    s.cr2 = c.cr2;
    s.cr3 = v.cr3;
    s.cr4 = v.cr4;
    s.cr8 = c.cr8;
    for (unsigned i = 0; i < 4; ++i)
        s.dr[i] = c.dr[i];
    s.dr6 = c.dr6;
    s.dr7 = v.dr7;
    s.efer = v.efer;
    s.pat = v.pat;
    s.debugctl = v.debugctl;
    s.star = c.star;
    s.lstar = c.lstar;
    s.cstar = c.cstar;
    s.fmask = c.fmask;
    s.kernel_gs_base = c.kernel_gs_base;
    s.tsc_aux = c.tsc_aux;
    s.spec_ctrl = c.spec_ctrl;
    s.sysenter_cs = v.sysenter_cs;
    s.sysenter_esp = v.sysenter_esp;
    s.sysenter_eip = v.sysenter_eip;
    s.xcr0 = c.xcr0;
    s.xss = c.xss;
    s.pkru = c.pkru;
    s.interruptibility = v.interruptibility;
    s.activity = v.activity;
    v.idt_vectoring_info = 0;

    const TranslationTag tag{.ept_pointer = v.ept_pointer,
                             .shared_ept_pointer = v.shared_ept_pointer,
                             .shared_bit = v.td_shared_bit,
                             .vpid = v.vpid,
                             .cr3 = v.cr3,
                             .cr0 = v.cr0,
                             .cr4 = v.cr4,
                             .efer = v.efer};
    // Without VPID every transition flushes linear mappings; with it, what was cached for others must not be
    // used.
    const bool tagged = (v.proc_based2 & proc2::VPID) && v.vpid != 0;
    mmu_.set_ept({.table = Hpa(v.ept_pointer & ept::ADDRESS),
                  .levels = ept::eptp_levels(v.ept_pointer),
                  .shared_bit = v.td_shared_bit,
                  .shared_table = Hpa(v.shared_ept_pointer & ept::ADDRESS),
                  .accessed_dirty = (v.ept_pointer & ept::EPTP_AD) != 0});
    mmu_.reload();
    engine_->set_extended_mask(s.xcr0);
    if (!tagged || !(tag == tag_))
        mmu_.flush();
    tag_ = tag;
    return true;
}

} // namespace seamless::cpu
