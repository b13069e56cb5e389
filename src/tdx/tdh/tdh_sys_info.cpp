// SPDX-License-Identifier: Apache-2.0
// TDH.SYS.INFO: what the module is and which memory is convertible, in one structure, for hosts from before
// TDH.SYS.RD.
#include "spec/tdx_sys_info.h"

#include <algorithm>

#include "mem/guest_access.h"
#include "tdx/guest/td_cpuid.h"
#include "tdx/platform_facts.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

spec::TdSysInfo sys_info()
{
    spec::TdSysInfo info{};
    info.vendor_id = 0x8086;
    info.build_date = kBuildDate;
    info.build_num = kBuildNumber;
    info.minor_version = kMinorVersion;
    info.major_version = kMajorVersion;
    info.sys_rd = 1;
    info.max_tdmrs = spec::kMaxTdmrs;
    info.max_reserved_per_tdmr = spec::kMaxReservedPerTdmr;
    info.pamt_entry_size = spec::kPamtEntryBytes;
    info.tdcs_base_size = static_cast<u16>(spec::kTdcsPages * kPageSize);
    info.tdvps_base_size = static_cast<u16>(spec::kTdvpsPages * kPageSize);
    info.attributes_fixed0 = kAttributesFixed0;
    info.xfam_fixed0 = xfam_fixed0();
    info.xfam_fixed1 = spec::xfam::FIXED1;
    const auto rows = cpuid_config_rows();
    info.num_cpuid_config = static_cast<u32>(std::min<std::size_t>(rows.size(), spec::kMaxCpuidConfigInfo));
    for (u32 i = 0; i < info.num_cpuid_config; ++i) {
        const cpu::CpuidResult mask = cpuid_config_mask(rows[i]);
        info.cpuid_config[i] = {rows[i].leaf, rows[i].subleaf, mask.eax, mask.ebx, mask.ecx, mask.edx};
    }
    return info;
}

} // namespace

TdxStatus tdh_sys_info(SeamCall& call)
{
    TdxModule& module = call.module;
    cpu::SeamRegs& regs = call.regs;
    {
        const std::lock_guard guard(module.lp_mutex);
        if (!module.lp_initialized[call.lp.id()])
            return TdxStatus::SYS_LP_INIT_NOT_DONE;
    }
    if (!module.shared_operand_ok(regs.rcx, sizeof(spec::TdSysInfo), sizeof(spec::TdSysInfo)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (regs.rdx < sizeof(spec::TdSysInfo))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    if (!module.shared_operand_ok(regs.r8, 512, spec::kMaxCmrs * sizeof(spec::CmrInfo)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::R8;
    if (regs.r9 < spec::kMaxCmrs)
        return TdxStatus::OPERAND_INVALID | TdxOperand::R9;
    const spec::TdSysInfo info = sys_info();
    mem::copy_to(Hpa(regs.rcx), {reinterpret_cast<const u8*>(&info), sizeof(info)});
    const spec::CmrInfo cmrs[spec::kMaxCmrs] = {{module.memory().base().value(), module.memory().size()}};
    mem::copy_to(Hpa(regs.r8), {reinterpret_cast<const u8*>(cmrs), sizeof(cmrs)});
    regs.rdx = sizeof(info);
    regs.r9 = spec::kMaxCmrs; // those behind the last one are empty
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
