// SPDX-License-Identifier: Apache-2.0
// KVM_GET/SET_REGS and SREGS of plain VMs. KVM API: "KVM_SET_SREGS".
#include "kvm/backend_vmx/vmx.h"

#include "cpu/cpuid.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

kvm_segment to_kvm(const Segment& s)
{
    const u32 ar = s.ar;
    kvm_segment k{};
    k.base = s.base;
    k.limit = s.limit;
    k.selector = s.selector;
    k.type = static_cast<u8>(segment_ar::type(ar));
    k.s = (ar & segment_ar::S) != 0;
    k.dpl = static_cast<u8>(segment_ar::dpl(ar));
    k.unusable = (ar & segment_ar::UNUSABLE) != 0;
    k.present = !k.unusable; // KVM reports it that way
    k.avl = test(ar, 12);
    k.l = (ar & segment_ar::L) != 0;
    k.db = (ar & segment_ar::DB) != 0;
    k.g = (ar & segment_ar::G) != 0;
    return k;
}

Segment from_kvm(const kvm_segment& k)
{
    u32 ar = k.type & 15u;
    ar |= (k.s & 1u) << 4 | (k.dpl & 3u) << 5 | (k.present & 1u) << 7;
    ar |= (k.avl & 1u) << 12 | (k.l & 1u) << 13 | (k.db & 1u) << 14 | (k.g & 1u) << 15;
    if (k.unusable || !k.present)
        ar |= segment_ar::UNUSABLE;
    return {.base = k.base, .limit = k.limit, .ar = ar, .selector = k.selector};
}

template <typename Sregs, typename Visit>
void for_each_segment(Sregs& sregs, Visit visit)
{
    visit(Seg::cs, sregs.cs);
    visit(Seg::ds, sregs.ds);
    visit(Seg::es, sregs.es);
    visit(Seg::fs, sregs.fs);
    visit(Seg::gs, sregs.gs);
    visit(Seg::ss, sregs.ss);
    visit(Seg::tr, sregs.tr);
    visit(Seg::ldtr, sregs.ldt);
}

// KVM's checks: paging needs protection, long mode needs PAE and a consistent EFER.
bool is_valid_sregs(const kvm_sregs2& s)
{
    if ((s.efer & efer::LME) && (s.cr0 & cr0::PG)) {
        if (!(s.cr4 & cr4::PAE) || !(s.efer & efer::LMA))
            return false;
        if (s.cr3 >> 52 & ~bits(11, 9))
            return false;
    } else if ((s.efer & efer::LMA) || s.cs.l) {
        return false;
    }
    if (((s.cr0 & cr0::PG) && !(s.cr0 & cr0::PE)) || ((s.cr0 & cr0::NW) && !(s.cr0 & cr0::CD)) || s.cr0 >> 32)
        return false;
    constexpr u64 kEfer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    return !(s.efer & ~kEfer) && !(s.cr4 & cr4::VMXE) && s.cr8 <= 15;
}

} // namespace

u64 kvm_supported_xcr0() { return cpu::supported_xcr0(); }

void vmx_get_regs(Vcpu& vcpu, kvm_regs& r)
{
    const cpu::GuestContext& c = vcpu.vmx->context;
    const cpu::Vmcs& v = vcpu.vmx->vmcs;
    r = {.rax = c[Gpr::rax],
         .rbx = c[Gpr::rbx],
         .rcx = c[Gpr::rcx],
         .rdx = c[Gpr::rdx],
         .rsi = c[Gpr::rsi],
         .rdi = c[Gpr::rdi],
         .rsp = v.rsp,
         .rbp = c[Gpr::rbp],
         .r8 = c[Gpr::r8],
         .r9 = c[Gpr::r9],
         .r10 = c[Gpr::r10],
         .r11 = c[Gpr::r11],
         .r12 = c[Gpr::r12],
         .r13 = c[Gpr::r13],
         .r14 = c[Gpr::r14],
         .r15 = c[Gpr::r15],
         .rip = v.rip,
         .rflags = v.rflags};
}

void vmx_set_regs(Vcpu& vcpu, const kvm_regs& r)
{
    cpu::GuestContext& c = vcpu.vmx->context;
    cpu::Vmcs& v = vcpu.vmx->vmcs;
    const u64 in_order[kGprCount] = {r.rax, r.rcx, r.rdx, r.rbx, 0,     r.rbp, r.rsi, r.rdi,
                                     r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    for (unsigned i = 0; i < kGprCount; ++i)
        c.gpr[i] = in_order[i];
    v.rsp = r.rsp;
    v.rip = r.rip;
    v.rflags = (r.rflags & rflags::kDefined) | rflags::FIXED1;
    vcpu.vmx->inject_info = 0; // KVM: pending exceptions are dropped
}

void vmx_get_sregs2(Vcpu& vcpu, kvm_sregs2& s)
{
    const cpu::Vmcs& v = vcpu.vmx->vmcs;
    s = {};
    for_each_segment(s, [&](Seg seg, kvm_segment& k) { k = to_kvm(v.seg[static_cast<unsigned>(seg)]); });
    s.gdt = {.base = v.gdtr.base, .limit = v.gdtr.limit};
    s.idt = {.base = v.idtr.base, .limit = v.idtr.limit};
    s.cr0 = vmx_cr0(*vcpu.vmx);
    s.cr2 = vcpu.vmx->context.cr2;
    s.cr3 = v.cr3;
    s.cr4 = vmx_cr4(*vcpu.vmx);
    s.cr8 = vmx_cr8(vcpu);
    s.efer = v.efer;
    s.apic_base = vcpu.lapic.base();
}

Result<void, Errno> vmx_set_sregs2(Vcpu& vcpu, const kvm_sregs2& s)
{
    if (!is_valid_sregs(s))
        return fail(Errno{EINVAL});
    TRY(vcpu.lapic.set_base(s.apic_base, true));
    cpu::Vmcs& v = vcpu.vmx->vmcs;
    for_each_segment(s,
                     [&](Seg seg, const kvm_segment& k) { v.seg[static_cast<unsigned>(seg)] = from_kvm(k); });
    v.gdtr = {.base = s.gdt.base, .limit = s.gdt.limit};
    v.idtr = {.base = s.idt.base, .limit = s.idt.limit};
    vmx_set_cr0(*vcpu.vmx, s.cr0);
    vmx_set_cr4(*vcpu.vmx, s.cr4);
    vcpu.vmx->context.cr2 = s.cr2;
    vmx_set_cr8(vcpu, s.cr8);
    v.cr3 = s.cr3;
    v.efer = s.efer;
    vcpu.make_request(KVM_REQ_TLB_FLUSH); // the processor may remember translations of the old tables
    return {};
}

} // namespace seamless::kvm
