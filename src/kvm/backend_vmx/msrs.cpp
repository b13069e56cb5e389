// SPDX-License-Identifier: Apache-2.0
// MSRs of plain VMs: where each one lives, and which bits may be written. What no row names is unknown (#GP).
#include "base/table.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/kvm.h"
#include "kvm/memory_types.h"

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

// AMD's hardware configuration: McStatusWrEn and TscFreqSel are kept; three bits for the caches mean nothing
// here.
constexpr u32 kHwcr = 0xc0010015;
constexpr u64 kHwcrKept = bit(18) | bit(24), kHwcrIgnored = bit(3) | bit(6) | bit(8);

// What this platform's processors have been spared, so that guests do without needless measures.
// IA32_ARCH_CAPABILITIES: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO,
// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
constexpr u64 kArchCapabilities =
    bit(0) | bit(1) | bits(6, 3) | bit(8) | bits(15, 13) | bit(20) | bit(24) | bits(27, 26) | bit(62);
constexpr u64 kSpecCtrl = bits(2, 0) | bit(7); // IBRS, STIBP, SSBD, PSFD

// AMD's MSRs that KVM reads as 0; writes of some are ignored, of the others refused.
struct ZeroMsr {
    u32 index;
    bool writes_ignored;
};
constexpr ZeroMsr kZeroMsrs[] = {
    {0xc0010010, false}, // SYSCFG
    {0xc001001f, true},  // NB_CFG
    {0xc0010055, false}, // INT_PENDING_MSG
    {0xc0010058, false}, // MMIO_CONF_BASE
    {0xc0010112, false}, // TSEG_ADDR
    {0xc0010113, false}, // TSEG_MASK
    {0xc0010117, true},  // VM_HSAVE_PA
    {0xc0011022, true},  // DC_CFG
    {0xc0011023, true},  // TW_CFG
    {0xc001102a, true},  // BU_CFG2
    {0xc001102c, true},  // EX_CFG
};
static_assert(base::strictly_ascending(kZeroMsrs, &ZeroMsr::index));

constexpr unsigned kSpecCtrlBit = 26, kArchCapabilitiesBit = 29;

// Whether the guest's own CPUID offers a bit of leaf 7's EDX.
bool offers(const Vcpu& vcpu, unsigned edx_bit)
{
    const spec::kvm::kvm_cpuid_entry2* leaf = find_cpuid_entry(vcpu, 7, 0);
    return leaf != nullptr && test(leaf->edx, edx_bit);
}

// MSRs that a guest finds only where its CPUID says so, whatever their rows say. User space always does.
bool hidden(const Vcpu& vcpu, u32 index, bool host)
{
    if (host)
        return false;
    if (index == number(Msr::IA32_SPEC_CTRL) || index == number(Msr::IA32_PRED_CMD))
        return !offers(vcpu, kSpecCtrlBit);
    return index == number(Msr::IA32_ARCH_CAPABILITIES) && !offers(vcpu, kArchCapabilitiesBit);
}

// clang-format off
constexpr MsrRow kMsrs[] = {
    {number(Msr::IA32_TSC),                  kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_WALL_CLOCK,          kAll,       0, nullptr},
    {spec::kvm::MSR_KVM_SYSTEM_TIME,         kAll,       0, nullptr},
    {number(Msr::IA32_APIC_BASE),            kAll,       0, nullptr, false},
    {number(Msr::IA32_FEATURE_CONTROL),      0,          1, nullptr},
    {number(Msr::IA32_TSC_ADJUST),           kAll,       0, nullptr},
    {number(Msr::IA32_SPEC_CTRL),            kSpecCtrl,  0, nullptr},
    {number(Msr::IA32_BIOS_SIGN_ID),         0,          u64{1} << 32, nullptr},
    {number(Msr::MSR_PLATFORM_INFO),         0,          0, nullptr},
    {number(Msr::IA32_MTRRCAP),              0,          0x508, nullptr},
    {number(Msr::IA32_ARCH_CAPABILITIES),    kArchCapabilities, kArchCapabilities, nullptr},
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
    {number(Msr::IA32_XSS),                  0,          0, nullptr}, // no supervisor state
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
    {kHwcr,                                  kHwcrKept | kHwcrIgnored, 0, nullptr},
};
// clang-format on
static_assert(base::strictly_ascending(kMsrs, &MsrRow::index));

// No such MSR: ENOENT. An access or a value that is not allowed: EINVAL.
constexpr u32 kFirstX2apic = 0x800, kLastX2apic = 0x8ff;

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

// Writes that leave nothing behind.
bool written_in_vain(u32 index, bool host)
{
    if (index == number(Msr::IA32_BIOS_SIGN_ID))
        return !host; // a guest asks for the revision this way
    const ZeroMsr* zero = base::find_row(kZeroMsrs, &ZeroMsr::index, index);
    return zero && zero->writes_ignored;
}

Result<void, Errno> check_write(const Vcpu& vcpu, const MsrRow* row, u32 index, u64 data, bool host)
{
    const bool command = index == number(Msr::IA32_PRED_CMD); // a barrier: accepted, and nothing to keep
    if ((!row && !is_mtrr_number(index) && !command) || hidden(vcpu, index, host))
        return fail(Errno{ENOENT});
    const bool refused = (command && (data & ~u64{1})) || (row && (data & ~row->writable)) ||
                         (index == number(Msr::IA32_ARCH_CAPABILITIES) && !host) ||
                         (holds_address(index) && !is_canonical(vcpu, data)) ||
                         (index == number(Msr::IA32_PAT) && !pat_valid(data)) ||
                         (is_mtrr_number(index) && !mtrr_valid(vcpu, index, data));
    return refused ? Result<void, Errno>(fail(Errno{EINVAL})) : Result<void, Errno>();
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

Result<u64, Errno> vmx_get_msr(Vcpu& vcpu, u32 index, bool host)
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
    if (base::find_row(kZeroMsrs, &ZeroMsr::index, index))
        return 0;
    if ((!row && !is_mtrr_number(index)) || hidden(vcpu, index, host))
        return fail(Errno{ENOENT});
    if (is_mtrr_number(index) && !has_mtrr(index))
        return fail(Errno{EINVAL});
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
    if (written_in_vain(index, host))
        return {};
    const MsrRow* row = base::find_row(kMsrs, &MsrRow::index, index);
    TRY(check_write(vcpu, row, index, data, host));
    if (index == number(Msr::IA32_PRED_CMD))
        return {};
    if (index == kHwcr)
        data &= ~kHwcrIgnored;
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
