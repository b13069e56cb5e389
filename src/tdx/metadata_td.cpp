// SPDX-License-Identifier: Apache-2.0
// Fields of a TD: TDH.MNG.RD, TDG.VM.RD and TDG.VM.WR.
#include <cstring>

#include "tdx/guest/td_cpuid.h"
#include "tdx/metadata_row.h"
#include "tdx/platform_facts.h"

namespace seamless::tdx {
namespace {

struct TdAndModule {
    Td& td;
    TdxModule* module;
};
using Row = MdRow<TdAndModule>;
namespace md = spec::md;

u64 qword(const u8* bytes, u32 index)
{
    u64 value;
    std::memcpy(&value, bytes + index * sizeof(value), sizeof(value));
    return value;
}

template <auto Member>
u64 member(TdAndModule& o, u32)
{
    if constexpr (requires { (o.td.*Member).load(); })
        return static_cast<u64>((o.td.*Member).load());
    else
        return static_cast<u64>(o.td.*Member);
}
template <auto Member>
u64 digest(TdAndModule& o, u32 i)
{
    return qword((o.td.*Member).data(), i);
}

u64 uuid(TdAndModule& o, u32 i) { return qword(o.td.uuid, i); }
u64 gpaw(TdAndModule& o, u32) { return o.td.gpaw() == 52; }
u64 zero(TdAndModule&, u32) { return 0; }
u64 one(TdAndModule&, u32) { return 1; }
u64 virtual_tsc(TdAndModule& o, u32) { return o.module ? o.td.virtual_tsc(o.module->clock().tsc()) : 0; }
u64 refcount(TdAndModule& o, u32 i) { return o.td.refcount[i]; }
u64 rtmr(TdAndModule& o, u32 i) { return o.td.rtmr[i / 6][i % 6]; }
u64 x2apic_id(TdAndModule& o, u32 i)
{
    const std::lock_guard guard(o.td.vcpus_mutex);
    return i < o.td.x2apic_ids.size() ? o.td.x2apic_ids[i] : ~0u;
}

bool set_notify_enables(TdAndModule& o, u32, u64 value)
{
    o.td.notify_enables = value;
    return true;
}

bool set_hp_lock_timeout(TdAndModule& o, u32, u64 value)
{
    o.td.hp_lock_timeout = value;
    return true;
}

bool set_td_ctls(TdAndModule& o, u32, u64 value)
{
    using namespace spec::td_ctls;
    Td& td = o.td;
    const u64 changed = value ^ td.td_ctls;
    u64 allowed = VIRT_CPUID2 | REDUCE_VE | LOCK;
    if (td.config_flags & spec::config_flags::FLEXIBLE_PENDING_VE)
        allowed |= PENDING_VE_DISABLE;
    if (td.topology_enum_configured)
        allowed |= ENUM_TOPOLOGY;
    if ((td.td_ctls & LOCK) || (changed & ~allowed))
        return false;
    td.td_ctls = value;
    return true;
}

// clang-format off
constexpr u8 H = kHostRead, HG = kHostRead | kGuestRead;
constexpr Row kRows[] = { // ascending by class and code
    {md::FATAL,                 1, H,  member<&Td::fatal>},
    {md::NUM_TDCX,              1, H,  member<&Td::num_tdcx>},
    {md::CHLDCNT,               1, H,  member<&Td::chldcnt>},
    {md::LIFECYCLE_STATE,       1, H,  member<&Td::lifecycle>},
    {md::TD_UUID,               4, H,  uuid},
    {md::HKID,                  1, H,  member<&Td::hkid>},
    {md::NUM_VCPUS,             1, HG, member<&Td::num_vcpus>},
    {md::OP_STATE,              1, H,  member<&Td::op_state>},
    {md::NUM_L2_VMS,            1, HG, zero},
    {md::ATTRIBUTES,            1, HG, member<&Td::attributes>},
    {md::XFAM,                  1, HG, member<&Td::xfam>},
    {md::MAX_VCPUS,             1, HG, member<&Td::max_vcpus>},
    {md::GPAW,                  1, HG, gpaw},
    {md::EPTP,                  1, H,  member<&Td::eptp_controls>},
    {md::TSC_OFFSET,            1, HG, member<&Td::tsc_offset>},
    {md::TSC_MULTIPLIER,        1, HG, member<&Td::tsc_multiplier>},
    {md::TSC_FREQUENCY,         1, HG, member<&Td::tsc_frequency>},
    {md::VIRTUAL_TSC,           1, HG, virtual_tsc},
    {md::NOTIFY_ENABLES,        1, kHostRead | kGuestRead | kGuestWrite, member<&Td::notify_enables>, set_notify_enables, 1},
    {md::HP_LOCK_TIMEOUT,       1, kHostRead | kHostWrite, member<&Td::hp_lock_timeout>, set_hp_lock_timeout},
    {md::CONFIG_FLAGS,          1, HG, member<&Td::config_flags>},
    {md::TD_CTLS,               1, kHostRead | kGuestRead | kGuestWrite, member<&Td::td_ctls>, set_td_ctls,
     spec::td_ctls::PENDING_VE_DISABLE | spec::td_ctls::ENUM_TOPOLOGY | spec::td_ctls::VIRT_CPUID2 | spec::td_ctls::REDUCE_VE | spec::td_ctls::LOCK},
    {md::TOPOLOGY_ENUM_CONFIGURED, 1, HG, member<&Td::topology_enum_configured>},
    {md::VE_REDUCTION_VALID,    1, HG, one},
    {md::TD_EPOCH,              1, H,  member<&Td::td_epoch>},
    {md::REFCOUNT,              2, H,  refcount},
    {md::MRTD,                  6, HG, digest<&Td::mrtd>},
    {md::MRCONFIGID,            6, HG, digest<&Td::mrconfigid>},
    {md::MROWNER,               6, HG, digest<&Td::mrowner>},
    {md::MROWNERCONFIG,         6, HG, digest<&Td::mrownerconfig>},
    {md::RTMR,                 24, HG, rtmr},
    {md::VIRTUAL_ARCH_CAPABILITIES, 1, HG, member<&Td::arch_capabilities>},
    {md::SERVTD_HASH,           6, HG, digest<&Td::servtd_hash>},
    {md::SERVTD_NUM,            1, H,  zero},
    {md::X2APIC_IDS, kMaxVcpusPerTd, H, x2apic_id},
};
// clang-format on
static_assert(ascending_fields(kRows));

// Bits of the field code of a CPUID value.
MdValue read_cpuid(const Td& td, u64 id)
{
    const u64 code = md::code(id);
    if (code > bits(16, 0) || (id & md::kMustBeZero))
        return {spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    const u32 leaf = static_cast<u32>(field(code, 15, 9) | field(code, 16, 16) << 31);
    const u32 subleaf = test(code, 8) ? ~0u : static_cast<u32>(field(code, 7, 1));
    for (const VirtualCpuid& row : td.cpuid)
        if (row.leaf == leaf && row.subleaf == subleaf) {
            const cpu::CpuidResult& v = row.values;
            return {spec::TdxStatus::SUCCESS,
                    test(code, 0) ? v.ecx | u64{v.edx} << 32 : v.eax | u64{v.ebx} << 32};
        }
    return {spec::TdxStatus::METADATA_FIELD_NOT_READABLE};
}

} // namespace

MdValue read_td_field(TdxModule& module, Td& td, u64 id, MdCaller caller)
{
    TdAndModule object{td, &module};
    if (caller == MdCaller::host && md::class_of(id) == md::class_of(md::CPUID_VALUES))
        return read_cpuid(td, id);
    return read_field<TdAndModule>(kRows, object, id, caller == MdCaller::host ? kHostRead : kGuestRead);
}

MdValue write_td_field(Td& td, u64 id, u64 data, u64 mask, MdCaller caller)
{
    TdAndModule object{td, nullptr};
    return write_field<TdAndModule>(kRows, object, id, data, mask,
                                    caller == MdCaller::host ? kHostWrite : kGuestWrite);
}

u64 next_td_field(const Td&, u64 id) { return next_field<TdAndModule>(kRows, id); }

} // namespace seamless::tdx
