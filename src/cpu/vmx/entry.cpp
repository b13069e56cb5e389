// SPDX-License-Identifier: Apache-2.0
// VM entry: checks, and loading the guest. SDM: "VM Entries".
#include "cpu/core.h"
#include "cpu/vmx/guest_fields.h"

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
    for_each_guest_field(v, c, s, [](const auto& saved, auto& live) { live = saved; });
    s.reg(Gpr::rsp) = v.rsp;
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
