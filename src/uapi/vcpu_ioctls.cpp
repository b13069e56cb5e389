// SPDX-License-Identifier: Apache-2.0
// The ioctls of vCPUs. What KVM refuses for a TD, whose registers are the module's, is a column of the table.
#include <cstring>

#include "base/table.h"
#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/mmu/mmu.h"
#include "uapi/files.h"
#include "uapi/interrupt_ioctls.h"

namespace seamless::uapi {

using namespace spec::kvm;

namespace {

constexpr u32 kMaxCpuidEntries = 256, kMaxMsrs = 256;

kvm::Vcpu& vcpu_of(const Call& c) { return *c.file.vcpu; }

IoctlResult run(const Call& c)
{
    if (c.arg)
        return fail(Errno{EINVAL});
    TRY(vcpu_of(c).kvm_run_ioctl());
    return 0;
}

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

// Stops at the first MSR that fails; the count tells user space which.
template <typename Access>
IoctlResult for_each_msr(const Call& c, bool write_back, Access access)
{
    const auto header = TRY(get_user<kvm_msrs>(c.arg));
    if (header.nmsrs >= kMaxMsrs)
        return fail(Errno{E2BIG});
    std::vector<kvm_msr_entry> entries(header.nmsrs);
    TRY(copy_from_user(entries.data(), c.arg + sizeof header, entries.size() * sizeof(kvm_msr_entry)));
    long done = 0;
    while (done < static_cast<long>(entries.size()) && access(entries[static_cast<std::size_t>(done)]))
        ++done;
    if (write_back)
        TRY(copy_to_user(c.arg + sizeof header, entries.data(), entries.size() * sizeof(kvm_msr_entry)));
    return done;
}

IoctlResult get_msrs(const Call& c)
{
    kvm::Vcpu& vcpu = vcpu_of(c);
    return for_each_msr(c, true, [&](kvm_msr_entry& e) {
        const auto value = vcpu.vm().ops.get_msr(vcpu, e.index, true);
        e.data = value.value_or(e.data);
        return value.ok();
    });
}

IoctlResult set_msrs(const Call& c)
{
    kvm::Vcpu& vcpu = vcpu_of(c);
    return for_each_msr(
        c, false, [&](kvm_msr_entry& e) { return vcpu.vm().ops.set_msr(vcpu, e.index, e.data, true).ok(); });
}

IoctlResult set_cpuid2(const Call& c)
{
    const auto header = TRY(get_user<kvm_cpuid2>(c.arg));
    if (header.nent > kMaxCpuidEntries)
        return fail(Errno{E2BIG});
    std::vector<kvm_cpuid_entry2> entries(header.nent);
    const std::size_t bytes = entries.size() * sizeof(kvm_cpuid_entry2);
    TRY(copy_from_user(entries.data(), c.arg + sizeof header, bytes));
    kvm::Vcpu& vcpu = vcpu_of(c);
    if (vcpu.ran_once) { // only what the guest has seen already
        const bool same =
            entries.size() == vcpu.cpuid.size() && std::memcmp(entries.data(), vcpu.cpuid.data(), bytes) == 0;
        return same ? IoctlResult(0) : IoctlResult(fail(Errno{EINVAL}));
    }
    vcpu.cpuid = std::move(entries);
    vcpu.cpuid_changed();
    return 0;
}

IoctlResult put_cpuid(u64 to, std::span<const kvm_cpuid_entry2> entries)
{
    auto header = TRY(get_user<kvm_cpuid2>(to));
    const bool fits = header.nent >= entries.size();
    header.nent = static_cast<u32>(entries.size());
    TRY(put_user(to, header));
    if (!fits)
        return fail(Errno{E2BIG});
    TRY(copy_to_user(to + sizeof header, entries.data(), entries.size_bytes()));
    return 0;
}

IoctlResult get_cpuid2(const Call& c) { return put_cpuid(c.arg, vcpu_of(c).cpuid); }

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
    const kvm::VcpuVmx& vmx = *vcpu_of(c).vmx;
    kvm_debugregs regs{};
    std::memcpy(regs.db, vmx.context.dr, sizeof regs.db);
    regs.dr6 = vmx.context.dr6;
    regs.dr7 = vmx.vmcs.dr7;
    TRY(put_user(c.arg, regs));
    return 0;
}

IoctlResult set_debugregs(const Call& c)
{
    const auto regs = TRY(get_user<kvm_debugregs>(c.arg));
    if (regs.flags || regs.dr6 >> 32 || regs.dr7 >> 32)
        return fail(Errno{EINVAL});
    kvm::VcpuVmx& vmx = *vcpu_of(c).vmx;
    std::memcpy(vmx.context.dr, regs.db, sizeof regs.db);
    vmx.context.dr6 = regs.dr6;
    vmx.vmcs.dr7 = regs.dr7;
    return 0;
}

IoctlResult smi(const Call&) { return fail(Errno{ENOTTY}); }
IoctlResult get_tsc_khz(const Call& c) { return vcpu_of(c).vm().default_tsc_khz; }

Result<void, Errno> pre_fault_page(kvm::Vcpu& vcpu, u64 gpa)
{
    kvm::Vm& vm = vcpu.vm();
    bool is_private;
    {
        const std::shared_lock slots(vm.slots_lock);
        is_private = vm.attributes.get(gfn_of(Gpa(gpa))) & KVM_MEMORY_ATTRIBUTE_PRIVATE;
    }
    const u64 shared_bit = gpa_of(vm.gfn_direct_bits).value();
    return kvm::kvm_tdp_map_page(vcpu, is_private ? gpa : gpa | shared_bit,
                                 is_private ? kvm::PFERR_PRIVATE_ACCESS : 0);
}

IoctlResult pre_fault_memory(const Call& c)
{
    auto range = TRY(get_user<kvm_pre_fault_memory>(c.arg));
    kvm::Vcpu& vcpu = vcpu_of(c);
    if (range.flags || !aligned(range.gpa, kPageSize) || !aligned(range.size, kPageSize) ||
        range.gpa + range.size <= range.gpa)
        return fail(Errno{EINVAL});
    if (vcpu.vm().is_td() && vcpu.vm().tdx->state != kvm::TdState::RUNNABLE)
        return fail(Errno{EOPNOTSUPP});
    if (range.gpa & gpa_of(vcpu.vm().gfn_direct_bits).value())
        return fail(Errno{EINVAL});
    bool any = false;
    const kvm::Handled done = vcpu.with_processor([&](cpu::LogicalProcessor&) -> kvm::Handled {
        while (range.size > 0) {
            TRY(pre_fault_page(vcpu, range.gpa));
            range.gpa += kPageSize;
            range.size -= kPageSize;
            any = true;
        }
        return 0;
    });
    TRY(put_user(c.arg, range));
    if (!done && !any)
        return fail(done.error());
    return 0;
}

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
    {KVM_GET_TSC_KHZ,       get_tsc_khz},
    {KVM_SMI,               smi},
    {KVM_INTERRUPT,         interrupt,     ForTd::allowed},
    {KVM_SET_MP_STATE,      set_mp_state,  ForTd::allowed, true},
    {KVM_SET_MSRS,          set_msrs},
    {KVM_SET_CPUID2,        set_cpuid2},
    {KVM_SET_VCPU_EVENTS,   set_vcpu_events},
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
    {KVM_PRE_FAULT_MEMORY,  pre_fault_memory},
};
// clang-format on
static_assert(base::strictly_ascending(kVcpuIoctls, &VcpuIoctlRow::request));

} // namespace

IoctlResult vcpu_ioctl(const Call& call)
{
    kvm::Vcpu& vcpu = vcpu_of(call);
    if (call.file.vm->dead())
        return fail(Errno{EIO});
    const VcpuIoctlRow* row =
        base::find_row(kVcpuIoctls, &VcpuIoctlRow::request, static_cast<u32>(call.request));
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

namespace {

IoctlResult td_init_mem_region(kvm::Vcpu& vcpu, const kvm_tdx_cmd& cmd)
{
    u64 hw_error = 0; // the vCPU's command is not copied back
    if (!vcpu.tdx->initialized || (cmd.flags & ~KVM_TDX_MEASURE_MEMORY_REGION))
        return fail(Errno{EINVAL});
    auto region = TRY(get_user<kvm_tdx_init_mem_region>(cmd.data));
    const auto result =
        kvm::tdx_init_mem_region(vcpu, region, cmd.flags & KVM_TDX_MEASURE_MEMORY_REGION, hw_error);
    TRY(put_user(cmd.data, region)); // progress, so that the call can be repeated
    TRY(result);
    return 0;
}

IoctlResult td_vcpu_command(kvm::Vcpu& vcpu, const kvm_tdx_cmd& cmd)
{
    u64 hw_error = 0;
    switch (cmd.id) {
    case KVM_TDX_INIT_VCPU:
        if (cmd.flags)
            return fail(Errno{EINVAL});
        TRY(kvm::tdx_init_vcpu(vcpu, cmd.data, hw_error));
        return 0;
    case KVM_TDX_INIT_MEM_REGION:
        return td_init_mem_region(vcpu, cmd);
    case KVM_TDX_GET_CPUID:
        return put_cpuid(cmd.data, TRY(kvm::tdx_get_cpuid(vcpu)));
    default:
        return fail(Errno{EINVAL});
    }
}

} // namespace

IoctlResult tdx_vcpu_ioctl(const Call& c)
{
    kvm::Vcpu& vcpu = vcpu_of(c);
    kvm::KvmTdx& td = *vcpu.vm().tdx;
    if (!td.has_hkid() || td.state == kvm::TdState::RUNNABLE)
        return fail(Errno{EINVAL});
    const auto cmd = TRY(get_user<kvm_tdx_cmd>(c.arg));
    if (cmd.hw_error)
        return fail(Errno{EINVAL});
    IoctlResult result = 0;
    (void)vcpu.with_processor([&](cpu::LogicalProcessor&) -> kvm::Handled {
        result = td_vcpu_command(vcpu, cmd);
        return 0;
    });
    return result;
}

} // namespace seamless::uapi
