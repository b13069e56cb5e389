// SPDX-License-Identifier: Apache-2.0
// General, segment, control, debug and extended registers of plain VMs. KVM API: "KVM_GET_REGS" and those
// that follow it.
#include "uapi/register_ioctls.h"

#include <cstring>

#include "kvm/backend_vmx/vmx.h"

namespace seamless::uapi {

using namespace spec::kvm;

static kvm::Vcpu& vcpu_of(const Call& c) { return *c.file.vcpu; }

IoctlResult get_regs(const Call& c)
{
    kvm_regs regs{};
    kvm::vmx_get_regs(vcpu_of(c), regs);
    TRY(put_user(c.arg, regs));
    return 0;
}

IoctlResult set_regs(const Call& c)
{
    kvm::vmx_set_regs(vcpu_of(c), TRY(get_user<kvm_regs>(c.arg)));
    return 0;
}

// kvm_sregs and kvm_sregs2 share all but the tail.
constexpr std::size_t kSregsHead = offsetof(kvm_sregs2, flags);
static_assert(offsetof(kvm_sregs, interrupt_bitmap) == kSregsHead);

IoctlResult get_sregs(const Call& c)
{
    kvm_sregs2 sregs2{};
    kvm::vmx_get_sregs2(vcpu_of(c), sregs2);
    kvm_sregs sregs{};
    std::memcpy(static_cast<void*>(&sregs), &sregs2, kSregsHead);
    if (const int vector = vcpu_of(c).external_vector; vector >= 0)
        sregs.interrupt_bitmap[vector / 64] |= bit(static_cast<unsigned>(vector) % 64);
    TRY(put_user(c.arg, sregs));
    return 0;
}

IoctlResult set_sregs(const Call& c)
{
    const auto sregs = TRY(get_user<kvm_sregs>(c.arg));
    kvm_sregs2 sregs2{};
    std::memcpy(static_cast<void*>(&sregs2), &sregs, kSregsHead);
    TRY(kvm::vmx_set_sregs2(vcpu_of(c), sregs2));
    for (int vector = 0; vector < 256; ++vector)
        if (test(sregs.interrupt_bitmap[vector / 64], static_cast<unsigned>(vector) % 64))
            vcpu_of(c).external_vector = vector;
    return 0;
}

IoctlResult get_sregs2(const Call& c)
{
    kvm_sregs2 sregs{};
    kvm::vmx_get_sregs2(vcpu_of(c), sregs);
    TRY(put_user(c.arg, sregs));
    return 0;
}

IoctlResult set_sregs2(const Call& c)
{
    const auto sregs = TRY(get_user<kvm_sregs2>(c.arg));
    if (sregs.flags & ~u64{1})
        return fail(Errno{EINVAL});
    TRY(kvm::vmx_set_sregs2(vcpu_of(c), sregs));
    return 0;
}

// Offsets in an XSAVE area. SDM: "Legacy Region of an XSAVE Area".
constexpr std::size_t kXsaveMxcsr = 24, kXsaveSt = 32, kXsaveXmm = 160, kXstateBv = 512;

IoctlResult get_fpu(const Call& c)
{
    const u8* area = vcpu_of(c).vmx->context.xsave.bytes;
    kvm_fpu fpu{};
    std::memcpy(&fpu.fcw, area, 2);
    std::memcpy(&fpu.fsw, area + 2, 2);
    fpu.ftwx = area[4];
    std::memcpy(&fpu.last_opcode, area + 6, 2);
    std::memcpy(&fpu.last_ip, area + 8, 8);
    std::memcpy(&fpu.last_dp, area + 16, 8);
    std::memcpy(&fpu.mxcsr, area + kXsaveMxcsr, 4);
    std::memcpy(fpu.fpr, area + kXsaveSt, sizeof fpu.fpr);
    std::memcpy(fpu.xmm, area + kXsaveXmm, sizeof fpu.xmm);
    TRY(put_user(c.arg, fpu));
    return 0;
}

IoctlResult set_fpu(const Call& c)
{
    const auto fpu = TRY(get_user<kvm_fpu>(c.arg));
    u8* area = vcpu_of(c).vmx->context.xsave.bytes;
    std::memcpy(area, &fpu.fcw, 2);
    std::memcpy(area + 2, &fpu.fsw, 2);
    area[4] = fpu.ftwx;
    std::memcpy(area + 6, &fpu.last_opcode, 2);
    std::memcpy(area + 8, &fpu.last_ip, 8);
    std::memcpy(area + 16, &fpu.last_dp, 8);
    const u32 mxcsr = fpu.mxcsr & 0xffff; // reserved bits would fault when the state is loaded
    std::memcpy(area + kXsaveMxcsr, &mxcsr, 4);
    std::memcpy(area + kXsaveSt, fpu.fpr, sizeof fpu.fpr);
    std::memcpy(area + kXsaveXmm, fpu.xmm, sizeof fpu.xmm);
    area[kXstateBv] |= 3; // x87 and SSE are no longer in their initial state
    return 0;
}

IoctlResult get_xsave(const Call& c)
{
    TRY(copy_to_user(c.arg, vcpu_of(c).vmx->context.xsave.bytes, sizeof(kvm_xsave)));
    return 0;
}

IoctlResult set_xsave(const Call& c)
{
    const auto state = TRY(get_user<kvm_xsave>(c.arg));
    constexpr std::size_t kHeaderEnd = 576;
    u64 header[(kHeaderEnd - kXstateBv) / 8];
    std::memcpy(header, reinterpret_cast<const u8*>(state.region) + kXstateBv, sizeof header);
    u32 mxcsr;
    std::memcpy(&mxcsr, reinterpret_cast<const u8*>(state.region) + kXsaveMxcsr, sizeof mxcsr);
    if ((header[0] & ~kvm::kvm_supported_xcr0()) || header[1] || header[2] || mxcsr & ~0xffffu)
        return fail(Errno{EINVAL});
    std::memcpy(vcpu_of(c).vmx->context.xsave.bytes, state.region, sizeof state);
    return 0;
}

IoctlResult get_xcrs(const Call& c)
{
    kvm_xcrs xcrs{.nr_xcrs = 1, .flags = 0, .xcrs = {}, .padding = {}};
    xcrs.xcrs[0].value = vcpu_of(c).vmx->context.xcr0;
    TRY(put_user(c.arg, xcrs));
    return 0;
}

IoctlResult set_xcrs(const Call& c)
{
    const auto xcrs = TRY(get_user<kvm_xcrs>(c.arg));
    if (xcrs.nr_xcrs > 16 || xcrs.flags)
        return fail(Errno{EINVAL});
    for (u32 i = 0; i < xcrs.nr_xcrs; ++i) {
        if (xcrs.xcrs[i].xcr != 0)
            continue;
        if (!(xcrs.xcrs[i].value & 1) || (xcrs.xcrs[i].value & ~kvm::kvm_supported_xcr0()))
            return fail(Errno{EINVAL});
        vcpu_of(c).vmx->context.xcr0 = xcrs.xcrs[i].value;
    }
    return 0;
}

IoctlResult get_debugregs(const Call& c)
{
    kvm::VcpuVmx& vmx = *vcpu_of(c).vmx;
    kvm_debugregs regs{};
    for (unsigned n = 0; n < 4; ++n)
        regs.db[n] = kvm::vmx_guest_dr(vmx, n);
    regs.dr6 = kvm::vmx_guest_dr(vmx, 6);
    regs.dr7 = kvm::vmx_guest_dr(vmx, 7);
    TRY(put_user(c.arg, regs));
    return 0;
}

IoctlResult set_debugregs(const Call& c)
{
    const auto regs = TRY(get_user<kvm_debugregs>(c.arg));
    if (regs.flags || regs.dr6 >> 32 || regs.dr7 >> 32)
        return fail(Errno{EINVAL});
    kvm::VcpuVmx& vmx = *vcpu_of(c).vmx;
    for (unsigned n = 0; n < 4; ++n)
        kvm::vmx_guest_dr(vmx, n) = regs.db[n];
    kvm::vmx_guest_dr(vmx, 6) = regs.dr6;
    kvm::vmx_guest_dr(vmx, 7) = regs.dr7;
    return 0;
}

IoctlResult set_guest_debug(const Call& c)
{
    TRY(kvm::vmx_set_guest_debug(vcpu_of(c), TRY(get_user<kvm_guest_debug>(c.arg))));
    return 0;
}

IoctlResult translate(const Call& c)
{
    auto t = TRY(get_user<kvm_translation>(c.arg));
    const auto gpa = vcpu_of(c).vmx->emulation->gva_to_gpa_system(t.linear_address);
    t.physical_address = gpa ? gpa->value() : ~u64{0};
    t.valid = gpa.has_value();
    t.writeable = 1; // KVM does not say more
    t.usermode = 0;
    TRY(put_user(c.arg, t));
    return 0;
}

} // namespace seamless::uapi
