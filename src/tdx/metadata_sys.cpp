// SPDX-License-Identifier: Apache-2.0
// Fields of the module itself: TDH.SYS.RD and TDG.SYS.RD.
#include "tdx/guest/td_cpuid.h"
#include "tdx/metadata_row.h"
#include "tdx/platform_facts.h"

namespace seamless::tdx {
namespace {

using Row = MdRow<TdxModule>;
namespace md = spec::md;

template <auto Value>
u64 constant(TdxModule&, u32)
{
    return static_cast<u64>(Value);
}

u64 num_cpuid_config(TdxModule&, u32) { return cpuid_config_rows().size(); }
u64 cpuid_config_leaf(TdxModule&, u32 i)
{
    const auto rows = cpuid_config_rows();
    return i < rows.size() ? rows[i].leaf | u64{rows[i].subleaf} << 32 : 0;
}
u64 cpuid_config_value(TdxModule&, u32 i)
{
    const auto rows = cpuid_config_rows();
    if (i / 2 >= rows.size())
        return 0;
    const cpu::CpuidResult mask = cpuid_config_mask(rows[i / 2]);
    return i % 2 == 0 ? mask.eax | u64{mask.ebx} << 32 : mask.ecx | u64{mask.edx} << 32;
}
u64 cmr_base(TdxModule& m, u32) { return m.memory().base().value(); }
u64 cmr_size(TdxModule& m, u32) { return m.memory().size(); }
u64 xfam_fixed0_field(TdxModule&, u32) { return xfam_fixed0(); }

// clang-format off
constexpr u8 R = kHostRead | kGuestRead;
constexpr Row kRows[] = {
    {md::VENDOR_ID,             1, R, constant<0x8086>},
    {md::BUILD_DATE,            1, R, constant<kBuildDate>},
    {md::BUILD_NUM,             1, R, constant<kBuildNumber>},
    {md::MINOR_VERSION,         1, R, constant<kMinorVersion>},
    {md::MAJOR_VERSION,         1, R, constant<kMajorVersion>},
    {md::UPDATE_VERSION,        1, R, constant<kUpdateVersion>},
    {md::INTERNAL_VERSION,      1, R, constant<0>},
    {md::SYS_ATTRIBUTES,        1, R, constant<0>},
    {md::NUM_TDX_FEATURES,      1, R, constant<1>},
    {md::TDX_FEATURES0,         1, R, constant<kFeatures0>},
    {md::NUM_CMRS,              1, R, constant<1>},
    {md::CMR_BASE,              1, R, cmr_base},
    {md::CMR_SIZE,              1, R, cmr_size},
    {md::MAX_TDMRS,             1, R, constant<spec::kMaxTdmrs>},
    {md::MAX_RESERVED_PER_TDMR, 1, R, constant<spec::kMaxReservedPerTdmr>},
    {md::PAMT_4K_ENTRY_SIZE,    1, R, constant<spec::kPamtEntryBytes>},
    {md::PAMT_2M_ENTRY_SIZE,    1, R, constant<spec::kPamtEntryBytes>},
    {md::PAMT_1G_ENTRY_SIZE,    1, R, constant<spec::kPamtEntryBytes>},
    {md::TDR_BASE_SIZE,         1, R, constant<kPageSize>},
    {md::TDCS_BASE_SIZE,        1, R, constant<spec::kTdcsPages * kPageSize>},
    {md::TDCS_SIZE_PER_L2,      1, R, constant<kPageSize>},
    {md::TDVPS_BASE_SIZE,       1, R, constant<spec::kTdvpsPages * kPageSize>},
    {md::TDVPS_SIZE_PER_L2,     1, R, constant<3 * kPageSize>},
    {md::ATTRIBUTES_FIXED0,     1, R, constant<kAttributesFixed0>},
    {md::ATTRIBUTES_FIXED1,     1, R, constant<0>},
    {md::XFAM_FIXED0,           1, R, xfam_fixed0_field},
    {md::XFAM_FIXED1,           1, R, constant<spec::xfam::FIXED1>},
    {md::NUM_CPUID_CONFIG,      1, R, num_cpuid_config},
    {md::CONFIG_FLAGS_FIXED0,   1, R, constant<kConfigFlagsFixed0>},
    {md::CONFIG_FLAGS_FIXED1,   1, R, constant<0>},
    {md::MAX_VCPUS_PER_TD,      1, R, constant<kMaxVcpusPerTd>},
    {md::CPUID_CONFIG_LEAVES,   spec::kMaxCpuidConfig,     R, cpuid_config_leaf},
    {md::CPUID_CONFIG_VALUES,   2 * spec::kMaxCpuidConfig, R, cpuid_config_value},
    {md::ARCH_CAPABILITIES_CONFIG_MASK, 1, R, constant<kArchCapabilitiesConfigMask>},
};
// clang-format on
static_assert(ascending_fields(kRows));

} // namespace

MdValue read_sys_field(TdxModule& module, u64 id) { return read_field<TdxModule>(kRows, module, id, R); }
MdList list_sys_fields(TdxModule& module, u64 id, std::span<u64> list)
{
    id = id == md::kFirst ? kRows[0].id : canonical_field<TdxModule>(kRows, id);
    if (id == md::kFirst)
        return {.status = spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    std::size_t used = 1, header = 0;
    u64 sequences = 0, previous = 0;
    for (; id != md::kFirst; previous = id, id = next_sys_field(module, id)) {
        const bool follows = header != 0 && id == previous + 1 && used - header <= md::kMaxFieldsInSequence;
        if (used + (follows ? 1 : 2) > list.size())
            break;
        if (follows) {
            list[header] += md::kOneFieldMore;
        } else {
            list[header = used++] = id;
            ++sequences;
        }
        list[used++] = read_sys_field(module, id).value;
    }
    list[0] = used * sizeof(u64) | sequences << 16;
    const bool all = id == md::kFirst;
    return {.status = all ? spec::TdxStatus::SUCCESS : spec::TdxStatus::METADATA_LIST_OVERFLOW, .next = id};
}

u64 next_sys_field(TdxModule&, u64 id) { return next_field<TdxModule>(kRows, id); }

} // namespace seamless::tdx
