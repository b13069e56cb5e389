// SPDX-License-Identifier: Apache-2.0
// MSRs of plain VMs: where each one lives, and which bits may be written. What no row names is unknown (#GP).
#include "base/table.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/kvm.h"

namespace seamless::kvm {

using namespace spec;

namespace {

using Place = u64& (*)(VcpuVmx&);

struct MsrRow {
    u32 index;
    u64 writable;
    u64 reset;         // where it is plain state
    Place place;       // where it is processor state
    bool saved = true; // in KVM_GET_MSR_INDEX_LIST
};

constexpr u64 kAll = ~u64{0};
constexpr u32 number(Msr m) { return static_cast<u32>(m); }

// clang-format off
constexpr MsrRow kMsrs[] = {
    {number(Msr::IA32_TSC),                  kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_WALL_CLOCK,          kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_SYSTEM_TIME,         kAll,       0, nullptr},
    {number(Msr::IA32_APIC_BASE),            kAll,       0, nullptr, false},
    {number(Msr::IA32_FEATURE_CONTROL),      0,          1, nullptr},
    {number(Msr::IA32_TSC_ADJUST),           kAll,       0, nullptr},
    {number(Msr::IA32_BIOS_SIGN_ID),         0,          u64{1} << 32, nullptr},
    {number(Msr::MSR_PLATFORM_INFO),         0,          0, nullptr},
    {number(Msr::IA32_MTRRCAP),              0,          0x508, nullptr},
    {number(Msr::IA32_SYSENTER_CS),          0xffffffff, 0, [](VcpuVmx& v) -> u64& { return v.vmcs.sysenter_cs; }},
    {number(Msr::IA32_SYSENTER_ESP),         kAll,       0, [](VcpuVmx& v) -> u64& { return v.vmcs.sysenter_esp; }},
    {number(Msr::IA32_SYSENTER_EIP),         kAll,       0, [](VcpuVmx& v) -> u64& { return v.vmcs.sysenter_eip; }},
    {number(Msr::IA32_MCG_CAP),              0,          0, nullptr, false},
    {number(Msr::IA32_MCG_STATUS),           kAll,       0, nullptr},
    {number(Msr::IA32_MISC_ENABLE),          kAll,       0x1801, nullptr},
    {number(Msr::IA32_DEBUGCTL),             3,          0, [](VcpuVmx& v) -> u64& { return v.vmcs.debugctl; }, false},
    {number(Msr::IA32_PAT),                  0x0707070707070707, 0, [](VcpuVmx& v) -> u64& { return v.vmcs.pat; }},
    {number(Msr::IA32_MTRR_DEF_TYPE),        0xcff,      0, nullptr},
    {number(Msr::IA32_TSC_DEADLINE),         kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_WALL_CLOCK_NEW,      kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_SYSTEM_TIME_NEW,     kAll,       0, nullptr},
    {number(Msr::IA32_EFER),                 efer::SCE | efer::LME | efer::LMA | efer::NXE, 0, [](VcpuVmx& v) -> u64& { return v.vmcs.efer; }},
    {number(Msr::IA32_STAR),                 kAll,       0, [](VcpuVmx& v) -> u64& { return v.context.star; }},
    {number(Msr::IA32_LSTAR),                kAll,       0, [](VcpuVmx& v) -> u64& { return v.context.lstar; }},
    {number(Msr::IA32_CSTAR),                kAll,       0, [](VcpuVmx& v) -> u64& { return v.context.cstar; }},
    {number(Msr::IA32_FMASK),                0xffffffff, 0, [](VcpuVmx& v) -> u64& { return v.context.fmask; }},
    {number(Msr::IA32_FS_BASE),              kAll,       0, [](VcpuVmx& v) -> u64& { return v.vmcs.seg[static_cast<unsigned>(Seg::fs)].base; }, false},
    {number(Msr::IA32_GS_BASE),              kAll,       0, [](VcpuVmx& v) -> u64& { return v.vmcs.seg[static_cast<unsigned>(Seg::gs)].base; }, false},
    {number(Msr::IA32_KERNEL_GS_BASE),       kAll,       0, [](VcpuVmx& v) -> u64& { return v.context.kernel_gs_base; }},
    {number(Msr::IA32_TSC_AUX),              0xffffffff, 0, [](VcpuVmx& v) -> u64& { return v.context.tsc_aux; }},
};
// clang-format on
static_assert(base::strictly_ascending(kMsrs, &MsrRow::index));

// No such MSR: ENOENT. An access or a value that is not allowed: EINVAL.
constexpr u32 kFirstMtrr = 0x200, kFirstFixedMtrr = 0x250, kLastMtrr = 0x26f, kFirstX2apic = 0x800,
              kLastX2apic = 0x8ff;

bool is_mtrr(u32 index)
{
    return index >= kFirstMtrr && index <= kLastMtrr &&
           (index <= 0x20f || index == 0x250 || index == 0x258 || index == 0x259 || index >= 0x268);
}
// Eight memory types. PAT has one more than the fixed-range MTRRs: UC-.
bool memory_types(u64 value, bool pat)
{
    for (unsigned i = 0; i < 8; ++i) {
        const u64 type = value >> (8 * i) & 0xff;
        if (type > (pat ? 7 : 6) || type == 2 || type == 3)
            return false;
    }
    return true;
}

bool is_canonical(const Vcpu& vcpu, u64 value)
{
    return sign_extend(value, vcpu.vmx->vmcs.cr4 & cr4::LA57 ? 57 : 48) == value;
}
bool holds_address(u32 index)
{
    return index == number(Msr::IA32_LSTAR) || index == number(Msr::IA32_CSTAR) ||
           index == number(Msr::IA32_FS_BASE) || index == number(Msr::IA32_GS_BASE) ||
           index == number(Msr::IA32_KERNEL_GS_BASE) || index == number(Msr::IA32_SYSENTER_ESP) ||
           index == number(Msr::IA32_SYSENTER_EIP);
}

// User space that writes 0 resets the machine: all counters of the VM start together, as at their creation.
void set_tsc(Vcpu& vcpu, u64 data, bool host)
{
    const u64 together = ~vcpu.vm().tsc_at_creation + 1;
    u64& offset = vcpu.vmx->vmcs.tsc_offset;
    offset = host && data == 0 ? together : data - vcpu.vm().kvm().package().clock().tsc();
    if (host) // a guest that moves its counter is told so by its own structure
        vcpu.pv_time.tsc_matches.store(offset == together);
    vcpu.make_request(KVM_REQ_CLOCK_UPDATE);
}

bool apic_here(Vcpu& vcpu) { return vcpu.vm().irqchip_split; }

Result<void, Errno> set_efer(Vcpu& vcpu, u64 data, bool host)
{
    VcpuVmx& vmx = *vcpu.vmx;
    const bool paging = vmx.vmcs.cr0 & cr0::PG;
    if (!host && paging && ((vmx.vmcs.efer ^ data) & efer::LME))
        return fail(Errno{EINVAL});
    if (!host) // LMA is the processor's
        data = (data & ~efer::LMA) | (vmx.vmcs.efer & efer::LMA);
    vmx.vmcs.efer = data;
    return {};
}

} // namespace

std::span<const u32> vmx_msr_index_list()
{
    static constexpr auto kList = [] {
        std::array<u32, std::size(kMsrs)> list{};
        std::size_t n = 0;
        for (const MsrRow& row : kMsrs)
            if (row.saved)
                list[n++] = row.index;
        return std::pair(list, n);
    }();
    return {kList.first.data(), kList.second};
}

Result<u64, Errno> vmx_get_msr(Vcpu& vcpu, u32 index, bool)
{
    if (index >= kFirstX2apic && index <= kLastX2apic)
        return apic_here(vcpu) ? vcpu.lapic.read_msr(index) : Result<u64, Errno>(fail(Errno{EINVAL}));
    if (index == number(Msr::IA32_TSC))
        return vcpu.vm().kvm().package().clock().tsc() + vcpu.vmx->vmcs.tsc_offset;
    if (is_kvmclock_msr(index))
        return kvmclock_get_msr(vcpu, index);
    if (index == number(Msr::IA32_APIC_BASE))
        return vcpu.lapic.base();
    if (index == number(Msr::IA32_TSC_DEADLINE))
        return apic_here(vcpu) ? vcpu.lapic.tsc_deadline() : 0;
    const MsrRow* row = base::find_row(kMsrs, &MsrRow::index, index);
    if (!row && !is_mtrr(index))
        return fail(Errno{ENOENT});
    if (row && row->place)
        return row->place(*vcpu.vmx);
    const auto stored = vcpu.msrs.find(index);
    return stored != vcpu.msrs.end() ? stored->second : row ? row->reset : 0;
}

Result<void, Errno> vmx_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host)
{
    if (index >= kFirstX2apic && index <= kLastX2apic)
        return apic_here(vcpu) ? vcpu.lapic.write_msr(index, data) : Result<void, Errno>(fail(Errno{EINVAL}));
    if (is_kvmclock_msr(index))
        return kvmclock_set_msr(vcpu, index, data, host);
    const MsrRow* row = base::find_row(kMsrs, &MsrRow::index, index);
    if (index == number(Msr::IA32_BIOS_SIGN_ID) && !host)
        return {}; // a guest asks for the revision this way
    if (!row && !is_mtrr(index))
        return fail(Errno{ENOENT});
    if (row && (data & ~row->writable))
        return fail(Errno{EINVAL});
    if (holds_address(index) && !is_canonical(vcpu, data))
        return fail(Errno{EINVAL});
    const bool pat = index == number(Msr::IA32_PAT);
    if ((pat || (index >= kFirstFixedMtrr && index <= kLastMtrr)) && !memory_types(data, pat))
        return fail(Errno{EINVAL});
    if (index == number(Msr::IA32_EFER))
        return set_efer(vcpu, data, host);
    if (index == number(Msr::IA32_TSC))
        set_tsc(vcpu, data, host);
    else if (index == number(Msr::IA32_APIC_BASE))
        return vcpu.lapic.set_base(data, host);
    else if (index == number(Msr::IA32_TSC_DEADLINE))
        apic_here(vcpu) ? vcpu.lapic.set_tsc_deadline(data) : void();
    else if (row && row->place)
        row->place(*vcpu.vmx) = data;
    else
        vcpu.msrs[index] = data;
    return {};
}

} // namespace seamless::kvm
