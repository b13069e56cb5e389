// SPDX-License-Identifier: Apache-2.0
// TDH.MNG.INIT: TD_PARAMS become the TD. Checks are in the module's order. TDX ABI: "TDH.MNG.INIT".
#include <algorithm>
#include <cstring>

#include "mem/guest_access.h"
#include "tdx/guest/td_cpuid.h"
#include "tdx/guest/td_msr.h"
#include "tdx/platform_facts.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

using spec::TdParams;

bool all_zero(std::span<const u8> data)
{
    return std::all_of(data.begin(), data.end(), [](u8 b) { return b == 0; });
}

bool attributes_ok(u64 a)
{
    using namespace spec::td_attributes;
    const bool exclusive = (a & MIGRATABLE) && (a & (DEBUG | PERFMON));
    return !(a & ~kAttributesFixed0) && !exclusive;
}

bool xfam_ok(u64 x)
{
    using namespace spec::xfam;
    const auto together = [x](u64 group) { return (x & group) == 0 || (x & group) == group; };
    return !(x & ~xfam_fixed0()) && (x & FIXED1) == FIXED1 && together(AVX512) &&
           (!(x & AVX512) || (x & AVX)) && together(CET) && together(AMX);
}

bool eptp_ok(u64 controls, u64 flags)
{
    const unsigned levels = spec::ept::eptp_levels(controls);
    return (controls & ~bits(5, 0)) == 0 && field(controls, 2, 0) == spec::ept::MEMTYPE_WB &&
           (levels == 4 || levels == 5) && (levels == 5 || !(flags & spec::config_flags::GPAW));
}

TdxStatus check_head(const Td& td, const TdParams& p)
{
    if (!attributes_ok(p.attributes))
        return TdxStatus::OPERAND_INVALID | TdxOperand::ATTRIBUTES;
    if (!xfam_ok(p.xfam))
        return TdxStatus::OPERAND_INVALID | TdxOperand::XFAM;
    if (p.max_vcpus == 0 || p.max_vcpus > kMaxVcpusPerTd)
        return TdxStatus::OPERAND_INVALID | TdxOperand::MAX_VCPUS;
    if (p.num_l2_vms != 0) // no partitioning on this platform
        return TdxStatus::OPERAND_INVALID | TdxOperand::NUM_L2_VMS;
    if (td.num_tdcx < spec::kTdcsPages)
        return TdxStatus::TDCS_NOT_ALLOCATED;
    if (p.reserved0 != 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    if (p.config_flags & ~kConfigFlagsFixed0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::EXEC_CONTROLS;
    if (!eptp_ok(p.eptp_controls, p.config_flags))
        return TdxStatus::OPERAND_INVALID | TdxOperand::EPTP_CONTROLS;
    if (p.tsc_frequency < 4 || p.tsc_frequency > 400)
        return TdxStatus::OPERAND_INVALID | TdxOperand::TSC_FREQUENCY;
    const bool config_tail =
        !all_zero({reinterpret_cast<const u8*>(p.cpuid_config + cpuid_config_rows().size()),
                   (spec::kMaxCpuidConfig - cpuid_config_rows().size()) * sizeof(spec::CpuidValues)});
    if (!all_zero(p.reserved1) || (p.msr_config_ctls & ~1u) || !all_zero(p.reserved2) || config_tail)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    if ((p.msr_config_ctls & 1) && (p.arch_capabilities_config & ~kArchCapabilitiesConfigMask))
        return TdxStatus::OPERAND_INVALID | TdxOperand::IA32_ARCH_CAPABILITIES_CONFIG;
    return TdxStatus::SUCCESS;
}

void set_tsc(Td& td, base::Clock& clock)
{
    const unsigned __int128 wanted = static_cast<unsigned __int128>(td.tsc_frequency * spec::kTscUnitHz)
                                     << 48;
    td.tsc_multiplier = static_cast<u64>(wanted / clock.tsc_hz());
    td.tsc_offset = 0;
    td.tsc_offset = -td.virtual_tsc(clock.tsc()); // the TD's time starts now
}

} // namespace

TdxStatus tdh_mng_init(SeamCall& call)
{
    Td& td = *call.td;
    if (td.fatal)
        return TdxStatus::TD_FATAL;
    if (td.lifecycle != spec::TdLifecycle::KEYS_CONFIGURED)
        return TdxStatus::TD_KEYS_NOT_CONFIGURED;
    if (td.op_state != spec::TdOpState::UNINITIALIZED)
        return TdxStatus::OP_STATE_INCORRECT;
    if (!call.module.shared_operand_ok(call.regs.rdx, sizeof(TdParams), sizeof(TdParams)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    TdParams params;
    mem::copy_from({reinterpret_cast<u8*>(&params), sizeof(params)}, Hpa(call.regs.rdx));
    if (const TdxStatus s = check_head(td, params); s != TdxStatus::SUCCESS)
        return s;
    td.attributes = params.attributes;
    td.xfam = params.xfam;
    td.config_flags = params.config_flags;
    td.eptp_controls = params.eptp_controls;
    td.max_vcpus = params.max_vcpus;
    td.tsc_frequency = params.tsc_frequency;
    const CpuidRow* bad = nullptr;
    if (!configure_cpuid(td, params.cpuid_config, bad)) {
        call.regs.rcx = bad->leaf | u64{bad->subleaf} << 32;
        return TdxStatus::OPERAND_INVALID | TdxOperand::CPUID_CONFIG;
    }
    td.arch_capabilities = params.msr_config_ctls & 1 ? params.arch_capabilities_config : kArchCapabilities;
    std::memcpy(td.mrconfigid.data(), params.mrconfigid, spec::kSha384Bytes);
    std::memcpy(td.mrowner.data(), params.mrowner, spec::kSha384Bytes);
    std::memcpy(td.mrownerconfig.data(), params.mrownerconfig, spec::kSha384Bytes);
    td.td_ctls =
        params.attributes & spec::td_attributes::SEPT_VE_DISABLE ? spec::td_ctls::PENDING_VE_DISABLE : 0;
    set_tsc(td, call.module.clock());
    build_msr_bitmap(td, td.tdcx[kTdcsMsrBitmap]);
    td.mrtd_context = std::make_unique<Sha384>();
    td.op_state = spec::TdOpState::INITIALIZED;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
