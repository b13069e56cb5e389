// SPDX-License-Identifier: Apache-2.0
// One TDMR covers the arena; its PAMT lies inside it, declared as a reserved area.
#include "kvm/tdx_host/tdx_host.h"

#include <fmt/format.h>

namespace seamless::kvm {

using namespace spec;

u64 TdxHost::seamcall_on(cpu::LogicalProcessor& lp, TdhLeaf leaf, cpu::SeamRegs& regs, unsigned version)
{
    regs.rax = leaf_rax(leaf, version);
    if (!seam_ || !seam_->seamcall(lp, regs))
        regs.rax = TDX_SEAMCALL_VMFAILINVALID;
    return regs.rax;
}

u64 TdxHost::seamcall(TdhLeaf leaf, cpu::SeamRegs& regs, unsigned version)
{
    processors_.on_some_cpu([&](cpu::LogicalProcessor& lp) { seamcall_on(lp, leaf, regs, version); });
    return regs.rax;
}

u64 TdxHost::seamcall(TdhLeaf leaf, u64 rcx, u64 rdx, u64 r8, u64 r9, unsigned version)
{
    cpu::SeamRegs regs{.rcx = rcx, .rdx = rdx, .r8 = r8, .r9 = r9};
    return seamcall(leaf, regs, version);
}

namespace {

Failure<Message> refused(const char* leaf, u64 status)
{
    return fail(Message{fmt::format("TDX: {} failed: {} ({:#018x})", leaf, tdx_status_name(status), status)});
}

} // namespace

Result<void, Message> TdxHost::bring_up()
{
    if (!seam_)
        return fail(Message{"TDX: no module is loaded"});
    if (const u64 status = seamcall(TdhLeaf::SYS_INIT, 0); status != 0)
        return refused("TDH.SYS.INIT", status);
    for (unsigned id = 0; id < processors_.package().count(); ++id) {
        u64 status = 0;
        processors_.call_on(id, [&](cpu::LogicalProcessor& lp) {
            cpu::SeamRegs regs;
            status = seamcall_on(lp, TdhLeaf::SYS_LP_INIT, regs);
        });
        if (status != 0)
            return refused("TDH.SYS.LP.INIT", status);
    }
    TRY(read_sys_info());
    return configure_tdmrs();
}

Result<u64, Message> TdxHost::sys_rd(u64 id)
{
    cpu::SeamRegs regs{.rdx = id};
    if (const u64 status = seamcall(TdhLeaf::SYS_RD, regs); status != 0)
        return fail(
            Message{fmt::format("TDX: TDH.SYS.RD of field {:#x} failed: {}", id, tdx_status_name(status))});
    return regs.r8;
}

Result<void, Message> TdxHost::read_sys_info()
{
    info_.features0 = TRY(sys_rd(md::TDX_FEATURES0));
    info_.attributes_fixed0 = TRY(sys_rd(md::ATTRIBUTES_FIXED0));
    info_.attributes_fixed1 = TRY(sys_rd(md::ATTRIBUTES_FIXED1));
    info_.xfam_fixed0 = TRY(sys_rd(md::XFAM_FIXED0));
    info_.xfam_fixed1 = TRY(sys_rd(md::XFAM_FIXED1));
    info_.tdcs_base_size = TRY(sys_rd(md::TDCS_BASE_SIZE));
    info_.tdvps_base_size = TRY(sys_rd(md::TDVPS_BASE_SIZE));
    info_.max_vcpus_per_td = TRY(sys_rd(md::MAX_VCPUS_PER_TD));
    const u64 leaves = TRY(sys_rd(md::NUM_CPUID_CONFIG));
    if (leaves > kMaxCpuidConfig)
        return fail(Message{"TDX: the module reports more CPUID_CONFIG leaves than TD_PARAMS holds"});
    for (u64 i = 0; i < leaves; ++i) {
        const u64 leaf = TRY(sys_rd(md::CPUID_CONFIG_LEAVES + i));
        const u64 low = TRY(sys_rd(md::CPUID_CONFIG_VALUES + 2 * i)),
                  high = TRY(sys_rd(md::CPUID_CONFIG_VALUES + 2 * i + 1));
        info_.cpuid_config.push_back({.leaf = static_cast<u32>(leaf),
                                      .subleaf = static_cast<u32>(leaf >> 32),
                                      .mask = {.eax = static_cast<u32>(low),
                                               .ebx = static_cast<u32>(low >> 32),
                                               .ecx = static_cast<u32>(high),
                                               .edx = static_cast<u32>(high >> 32)}});
    }
    return {};
}

Result<void, Message> TdxHost::configure_tdmrs()
{
    mem::HostMemory& arena = memory();
    const auto pamt_size = [&](unsigned shift) {
        return align_up((arena.size() >> shift) * kPamtEntryBytes, kPageSize);
    };
    const u64 size_4k = pamt_size(12), size_2m = pamt_size(21), size_1g = pamt_size(30);
    const auto pamt = arena.alloc_range(size_4k + size_2m + size_1g);
    const auto page = arena.alloc_page();
    if (!pamt || !page)
        return fail(Message{"TDX: no room for the PAMT in the arena"});
    const Hpa array = page.value(), tdmr_hpa = page.value() + 1024;
    auto& tdmr = *mem::host_ptr<TdmrInfo>(tdmr_hpa);
    const u64 pamt_base = pamt.value().value();
    tdmr.base = arena.base().value();
    tdmr.size = arena.size();
    tdmr.pamt_4k_base = pamt_base;
    tdmr.pamt_4k_size = size_4k;
    tdmr.pamt_2m_base = pamt_base + size_4k;
    tdmr.pamt_2m_size = size_2m;
    tdmr.pamt_1g_base = pamt_base + size_4k + size_2m;
    tdmr.pamt_1g_size = size_1g;
    tdmr.reserved[0] = {.offset = pamt_base - tdmr.base, .size = size_4k + size_2m + size_1g};
    *mem::host_ptr<u64>(array) = tdmr_hpa.value();
    u64 status = seamcall(TdhLeaf::SYS_CONFIG, array.value(), 1, global_hkid());
    arena.free_page(page.value());
    if (status != 0)
        return refused("TDH.SYS.CONFIG", status);
    if (status = seamcall(TdhLeaf::SYS_KEY_CONFIG, 0); status != 0)
        return refused("TDH.SYS.KEY.CONFIG", status);
    hkid_taken_[global_hkid()] = true;
    return initialize_tdmr(arena.base(), arena.size());
}

Result<void, Message> TdxHost::initialize_tdmr(Hpa base, u64 size)
{
    for (;;) {
        cpu::SeamRegs regs{.rcx = base.value()};
        if (const u64 status = seamcall(TdhLeaf::SYS_TDMR_INIT, regs); status != 0)
            return refused("TDH.SYS.TDMR.INIT", status);
        if (regs.rdx >= base.value() + size)
            return {};
    }
}

Result<unsigned, Errno> TdxHost::alloc_hkid()
{
    const std::lock_guard lock(hkid_mutex_);
    for (unsigned hkid = kFirstPrivateHkid; hkid < kKeyIds; ++hkid) {
        if (hkid_taken_[hkid])
            continue;
        hkid_taken_[hkid] = true;
        return hkid;
    }
    return fail(Errno{ENOSPC});
}

void TdxHost::free_hkid(unsigned hkid)
{
    const std::lock_guard lock(hkid_mutex_);
    hkid_taken_[hkid] = false;
}

} // namespace seamless::kvm
