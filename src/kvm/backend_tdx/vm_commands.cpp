// SPDX-License-Identifier: Apache-2.0
// KVM_TDX_CAPABILITIES, INIT_VM and FINALIZE_VM. The order of the checks is KVM's, since each has its own
// errno.
#include <algorithm>
#include <cstring>

#include "cpu/cpuid.h"
#include "kvm/backend_tdx/tdx.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

constexpr u32 kNoSubleaf = ~0u;
constexpr u32 kHle = 1u << 4, kRtm = 1u << 11, kWaitpkg = 1u << 5;
constexpr u64 kSupportedAttributes = td_attributes::SEPT_VE_DISABLE;

// What KVM and the module both know; 0 if the module insists on something KVM does not know.
u64 supported(u64 known, u64 fixed0, u64 fixed1) { return (known & fixed1) != fixed1 ? 0 : known & fixed0; }
u64 supported_attrs(const TdxSysInfo& info)
{
    return supported(kSupportedAttributes, info.attributes_fixed0, info.attributes_fixed1);
}
u64 supported_xfam(const TdxSysInfo& info)
{
    return supported(cpu::supported_xcr0() | cpu::supported_xss(), info.xfam_fixed0, info.xfam_fixed1);
}

bool has_tsx(const kvm_cpuid_entry2& e) { return e.function == 7 && e.index == 0 && (e.ebx & (kHle | kRtm)); }
bool has_waitpkg(const kvm_cpuid_entry2& e) { return e.function == 7 && e.index == 0 && (e.ecx & kWaitpkg); }

const kvm_cpuid_entry2* find(std::span<const kvm_cpuid_entry2> entries, u32 leaf, u32 subleaf)
{
    const auto it = std::find_if(entries.begin(), entries.end(), [&](const kvm_cpuid_entry2& e) {
        return e.function == leaf &&
               (subleaf == kNoSubleaf ? !(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)
                                      : (e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) && e.index == subleaf);
    });
    return it == entries.end() ? nullptr : &*it;
}

// Guest physical width, from the byte of leaf 80000008H that KVM reserves for it.
Result<unsigned, Errno> guest_width(std::span<const kvm_cpuid_entry2> cpuid)
{
    const auto it =
        std::find_if(cpuid.begin(), cpuid.end(), [](const auto& e) { return e.function == 0x80000008; });
    if (it == cpuid.end())
        return fail(Errno{EINVAL});
    const auto width = static_cast<unsigned>(field(it->eax, 23, 16));
    if (width != 48 && width != 52)
        return fail(Errno{EINVAL});
    return width;
}

Result<void, Errno> fill_cpuid_config(TdParams& td, const TdxSysInfo& info,
                                      std::span<const kvm_cpuid_entry2> cpuid)
{
    std::size_t matched = 0;
    for (std::size_t i = 0; i < info.cpuid_config.size(); ++i) {
        const auto& config = info.cpuid_config[i];
        const kvm_cpuid_entry2* entry = find(cpuid, config.leaf, config.subleaf);
        if (!entry)
            continue;
        ++matched;
        td.cpuid_config[i] = {entry->eax, entry->ebx, entry->ecx, entry->edx};
        if (config.leaf == 0x80000008) // the width travels in CONFIG_FLAGS
            td.cpuid_config[i].eax &= ~0x00ff0000u;
    }
    if (matched != cpuid.size())
        return fail(Errno{EINVAL});
    return {};
}

Result<void, Errno> check_init_vm(const Vm& vm, const kvm_tdx_init_vm& params,
                                  std::span<const kvm_cpuid_entry2> cpuid, const TdxSysInfo& info)
{
    if (std::any_of(std::begin(params.reserved), std::end(params.reserved), [](u64 r) { return r != 0; }))
        return fail(Errno{EINVAL});
    if (params.cpuid.padding != 0)
        return fail(Errno{EINVAL});
    if (!vm.vcpus().empty())
        return fail(Errno{EBUSY});
    if ((params.attributes & ~supported_attrs(info)) || (params.xfam & ~supported_xfam(info)))
        return fail(Errno{EINVAL});
    TRY(guest_width(cpuid));
    if (std::any_of(cpuid.begin(), cpuid.end(), [](const auto& e) { return has_tsx(e) || has_waitpkg(e); }))
        return fail(Errno{EINVAL});
    return {};
}

void fill_td_params(TdParams& td, const Vm& vm, const kvm_tdx_init_vm& params, unsigned width,
                    const TdxSysInfo& info)
{
    td.attributes = params.attributes | info.attributes_fixed1;
    td.xfam = params.xfam | info.xfam_fixed1;
    td.max_vcpus = static_cast<u16>(vm.max_vcpus);
    td.eptp_controls = ept::EPTP_WB | ept::eptp_walk_length(width == 52 ? 5 : 4);
    td.config_flags = config_flags::NO_RBP_MOD | (width == 52 ? config_flags::GPAW : 0);
    td.tsc_frequency = static_cast<u16>(vm.default_tsc_khz / 25000);
    std::memcpy(td.mrconfigid, params.mrconfigid, kSha384Bytes);
    std::memcpy(td.mrowner, params.mrowner, kSha384Bytes);
    std::memcpy(td.mrownerconfig, params.mrownerconfig, kSha384Bytes);
}

Errno create_errno(u64 status)
{
    return status_of(status) == TdxStatus::RND_NO_ENTROPY ? Errno{EAGAIN} : Errno{EIO};
}

// MNG.CREATE, KEY.CONFIG, ADDCX: a TD with its key and its control pages.
Result<void, Errno> create_td(Vm& vm)
{
    KvmTdx& td = *vm.tdx;
    TdxHost& host = tdx_host(vm);
    td.tdr = TRY(vm.memory().alloc_page());
    u64 status = host.seamcall(TdhLeaf::MNG_CREATE, td.tdr.value(), static_cast<u64>(td.hkid));
    if (status != 0) {
        vm.memory().free_page(td.tdr);
        td.tdr = Hpa();
        host.free_hkid(static_cast<unsigned>(td.hkid));
        td.hkid = -1;
        return fail(create_errno(status));
    }
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; ++i) {
        status = host.seamcall(TdhLeaf::MNG_KEY_CONFIG, td.tdr.value());
        if (status_of(status) != TdxStatus::KEY_GENERATION_FAILED && !is_busy(status))
            break;
    }
    if (status != 0 && status_of(status) != TdxStatus::KEY_CONFIGURED)
        return fail(Errno{EIO});
    for (u64 i = 0; i < host.info().tdcs_base_size / kPageSize; ++i) {
        const Hpa page = TRY(vm.memory().alloc_page());
        status = host.seamcall(TdhLeaf::MNG_ADDCX, page.value(), td.tdr.value());
        if (status != 0) {
            vm.memory().free_page(page);
            return fail(create_errno(status));
        }
        td.tdcs.push_back(page);
    }
    return {};
}

// What an INIT_VM that failed half way leaves: key and pages go back, the VM stays UNINITIALIZED.
void undo_create_td(Vm& vm)
{
    tdx_vm_pre_destroy(vm);
    tdx_vm_destroy(vm);
    vm.tdx->tdcs.clear();
}

Result<void, Errno> init_td(Vm& vm, Hpa params, u64& hw_error)
{
    TdxHost& host = tdx_host(vm);
    KvmTdx& td = *vm.tdx;
    const u64 status = host.seamcall(TdhLeaf::MNG_INIT, td.tdr.value(), params.value());
    if (status_of(status) == TdxStatus::OPERAND_INVALID) {
        hw_error = status;
        return fail(Errno{EINVAL});
    }
    if (status != 0) {
        hw_error = status;
        return fail(Errno{EIO});
    }
    cpu::SeamRegs offset{.rcx = td.tdr.value(), .rdx = md::TSC_OFFSET};
    cpu::SeamRegs multiplier{.rcx = td.tdr.value(), .rdx = md::TSC_MULTIPLIER};
    if (host.seamcall(TdhLeaf::MNG_RD, offset) != 0 || host.seamcall(TdhLeaf::MNG_RD, multiplier) != 0)
        return fail(Errno{EIO});
    td.tsc_offset = offset.r8;
    td.tsc_multiplier = multiplier.r8;
    return {};
}

} // namespace

Result<TdxCapabilities, Errno> tdx_get_capabilities(Vm& vm)
{
    const TdxSysInfo& info = tdx_host(vm).info();
    TdxCapabilities caps{.supported_attrs = supported_attrs(info),
                         .supported_xfam = supported_xfam(info),
                         .user_tdvmcallinfo_1_r11 = bit(1), // SetupEventNotifyInterrupt
                         .cpuid = {}};
    if (caps.supported_attrs == 0 || caps.supported_xfam == 0)
        return fail(Errno{EIO});
    for (const auto& config : info.cpuid_config) {
        kvm_cpuid_entry2 e{};
        e.function = config.leaf;
        if (config.subleaf != kNoSubleaf) {
            e.index = config.subleaf;
            e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        }
        e.eax = config.mask.eax;
        e.ebx = config.mask.ebx;
        e.ecx = config.mask.ecx;
        e.edx = config.mask.edx;
        if (e.function == 7 && e.index == 0) {
            e.ebx &= ~(kHle | kRtm);
            e.ecx &= ~kWaitpkg;
        }
        if (e.function == 0x80000008)
            e.eax |= 0x00ff0000;
        caps.cpuid.push_back(e);
    }
    return caps;
}

Result<void, Errno> tdx_init_vm(Vm& vm, const kvm_tdx_init_vm& params,
                                std::span<const kvm_cpuid_entry2> cpuid, u64& hw_error)
{
    TdxHost& host = tdx_host(vm);
    KvmTdx& td = *vm.tdx;
    TRY(check_init_vm(vm, params, cpuid, host.info()));
    const unsigned width = TRY(guest_width(cpuid));
    const Hpa page = TRY(vm.memory().alloc_page());
    auto& td_params = *mem::host_ptr<TdParams>(page);
    fill_td_params(td_params, vm, params, width, host.info());
    auto result = fill_cpuid_config(td_params, host.info(), cpuid);
    if (result.ok()) {
        const auto hkid = host.alloc_hkid();
        if (hkid) {
            td.hkid = static_cast<int>(hkid.value());
            result = create_td(vm);
            if (result.ok())
                result = init_td(vm, page, hw_error);
            if (!result.ok())
                undo_create_td(vm);
        } else {
            result = fail(hkid.error());
        }
    }
    vm.memory().free_page(page);
    TRY(result);
    td.attributes = td_params.attributes;
    td.xfam = td_params.xfam;
    vm.gfn_direct_bits = Gfn(bit(width - 1) >> kPageShift);
    TRY(vm.mmu.make_roots(width == 52 ? 5 : 4, true));
    td.state = TdState::INITIALIZED;
    return {};
}

Result<void, Errno> tdx_finalize_vm(Vm& vm, u64& hw_error)
{
    KvmTdx& td = *vm.tdx;
    const std::unique_lock slots(vm.slots_lock);
    const std::lock_guard mmu(vm.mmu.lock); // no page is mapped meanwhile
    if (!td.has_hkid() || td.state != TdState::INITIALIZED)
        return fail(Errno{EINVAL});
    if (td.nr_premapped != 0)
        return fail(Errno{EINVAL});
    const u64 status = tdx_host(vm).seamcall(TdhLeaf::MR_FINALIZE, td.tdr.value());
    if (is_busy(status))
        return fail(Errno{EBUSY});
    if (status != 0) {
        hw_error = status;
        return fail(Errno{EIO});
    }
    td.state = TdState::RUNNABLE;
    return {};
}

} // namespace seamless::kvm
