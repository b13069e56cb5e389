// SPDX-License-Identifier: Apache-2.0
// The ioctls of vCPUs. What KVM refuses for a TD, whose registers are the module's, is a column of the table.
#include "base/row_index.h"
#include "base/table.h"
#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "uapi/files.h"
#include "uapi/interrupt_ioctls.h"
#include "uapi/memory_ioctls.h"
#include "uapi/register_ioctls.h"
#include "uapi/signal_mask.h"

namespace seamless::uapi {

using namespace spec::kvm;

namespace {

kvm::Vcpu& vcpu_of(const Call& c) { return *c.file.vcpu; }

IoctlResult run(const Call& c)
{
    if (c.arg)
        return fail(Errno{EINVAL});
    kvm::Vcpu& vcpu = vcpu_of(c);
    if (!vcpu.run_signal_mask) [[likely]] {
        TRY(vcpu.kvm_run_ioctl());
        return 0;
    }
    const SignalMaskScope mask(vcpu, *vcpu.run_signal_mask);
    TRY(vcpu.kvm_run_ioctl());
    return 0;
}

IoctlResult set_signal_mask(const Call& c)
{
    if (c.arg == 0) { // KVM_RUN leaves the mask alone
        vcpu_of(c).run_signal_mask.reset();
        return 0;
    }
    if (TRY(get_user<kvm_signal_mask>(c.arg)).len != sizeof(u64))
        return fail(Errno{EINVAL});
    vcpu_of(c).run_signal_mask = TRY(get_user<u64>(c.arg + sizeof(kvm_signal_mask)));
    return 0;
}

// There is no scaling of the counter: a vCPU runs at the host's frequency, which 0 asks for.
IoctlResult set_tsc_khz(const Call& c)
{
    const bool same = c.arg == 0 || c.arg == vcpu_of(c).vm().default_tsc_khz;
    return same ? IoctlResult(0) : IoctlResult(fail(Errno{EINVAL}));
}

IoctlResult kvmclock_ctrl(const Call& c)
{
    TRY(kvm::kvm_set_guest_paused(vcpu_of(c)));
    return 0;
}

IoctlResult enable_cap(const Call& c)
{
    const auto cap = TRY(get_user<kvm_enable_cap>(c.arg));
    if (cap.flags != 0 || cap.cap != KVM_CAP_ENFORCE_PV_FEATURE_CPUID)
        return fail(Errno{EINVAL});
    vcpu_of(c).pv_time.enforce_cpuid = cap.args[0] != 0;
    return 0;
}

IoctlResult smi(const Call&) { return fail(Errno{ENOTTY}); }
IoctlResult get_tsc_khz(const Call& c) { return vcpu_of(c).vm().default_tsc_khz; }

IoctlResult memory_encrypt_op(const Call& c)
{
    if (!vcpu_of(c).vm().is_td())
        return fail(Errno{EINVAL});
    return tdx_vcpu_ioctl(c);
}

enum class ForTd : u8 { allowed, refused };

struct VcpuIoctlRow {
    u32 request;
    IoctlResult (*run)(const Call&);
    ForTd td = ForTd::allowed;
    bool any_time = false; // needs no vcpu->mutex: another thread may call it during KVM_RUN
};

// clang-format off
constexpr VcpuIoctlRow kVcpuIoctls[] = {
    {KVM_RUN,               run},
    {KVM_NMI,               nmi,           ForTd::allowed, true},
    {KVM_SET_TSC_KHZ,       set_tsc_khz,   ForTd::refused},
    {KVM_GET_TSC_KHZ,       get_tsc_khz},
    {KVM_KVMCLOCK_CTRL,     kvmclock_ctrl},
    {KVM_SMI,               smi},
    {KVM_INTERRUPT,         interrupt},
    {KVM_SET_SIGNAL_MASK,   set_signal_mask},
    {KVM_SET_MP_STATE,      set_mp_state,  ForTd::allowed, true},
    {KVM_SET_MSRS,          set_msrs},
    {KVM_SET_CPUID2,        set_cpuid2},
    {KVM_SET_VCPU_EVENTS,   set_vcpu_events},
    {KVM_SET_GUEST_DEBUG,   set_guest_debug, ForTd::refused},
    {KVM_ENABLE_CAP,        enable_cap},
    {KVM_SET_DEBUGREGS,     set_debugregs, ForTd::refused},
    {KVM_SET_REGS,          set_regs,      ForTd::refused},
    {KVM_SET_SREGS,         set_sregs,     ForTd::refused},
    {KVM_SET_SREGS2,        set_sregs2,    ForTd::refused},
    {KVM_SET_XCRS,          set_xcrs,      ForTd::refused},
    {KVM_SET_FPU,           set_fpu,       ForTd::refused},
    {KVM_SET_LAPIC,         set_lapic,     ForTd::refused},
    {KVM_SET_XSAVE,         set_xsave,     ForTd::refused},
    {KVM_GET_MP_STATE,      get_mp_state,  ForTd::allowed, true},
    {KVM_GET_VCPU_EVENTS,   get_vcpu_events},
    {KVM_GET_DEBUGREGS,     get_debugregs, ForTd::refused},
    {KVM_GET_REGS,          get_regs,      ForTd::refused},
    {KVM_GET_SREGS,         get_sregs,     ForTd::refused},
    {KVM_GET_SREGS2,        get_sregs2,    ForTd::refused},
    {KVM_GET_XCRS,          get_xcrs,      ForTd::refused},
    {KVM_GET_FPU,           get_fpu,       ForTd::refused},
    {KVM_GET_LAPIC,         get_lapic,     ForTd::refused},
    {KVM_GET_XSAVE,         get_xsave,     ForTd::refused},
    {KVM_GET_XSAVE2,        get_xsave,     ForTd::refused},
    {KVM_GET_MSRS,          get_msrs},
    {KVM_GET_CPUID2,        get_cpuid2},
    {KVM_MEMORY_ENCRYPT_OP, memory_encrypt_op},
    {KVM_TRANSLATE,         translate,     ForTd::refused},
    {KVM_PRE_FAULT_MEMORY,  pre_fault_memory},
};
// clang-format on
static_assert(base::strictly_ascending(kVcpuIoctls, &VcpuIoctlRow::request));
// By a divisor for which all remainders differ.
constexpr auto kIndex = base::index_rows<152>(kVcpuIoctls, &VcpuIoctlRow::request);

} // namespace

IoctlResult vcpu_ioctl(const Call& call)
{
    kvm::Vcpu& vcpu = vcpu_of(call);
    if (call.file.vm->dead())
        return fail(Errno{EIO});
    const VcpuIoctlRow* row = kIndex.find(static_cast<u32>(call.request));
    if (!row || (row->td == ForTd::refused && vcpu.vm().is_td()))
        return fail(Errno{EINVAL});
    if (row->any_time)
        return row->run(call);
    const std::lock_guard guard(vcpu.mutex);
    vcpu.clear_signal();
    set_current_vcpu(&vcpu);
    const IoctlResult result = row->run(call);
    set_current_vcpu(nullptr);
    return result;
}

} // namespace seamless::uapi
