// SPDX-License-Identifier: Apache-2.0
// Fields of a vCPU: TDH.VP.RD and TDH.VP.WR. The host of a TD that is not debuggable sees little of them.
#include "tdx/metadata_row.h"

namespace seamless::tdx {
namespace {

using Row = MdRow<Vcpu>;
namespace md = spec::md;
using spec::VmcsField;

u64 state(Vcpu& v, u32) { return static_cast<u64>(v.state.load()); }
u64 index_of(Vcpu& v, u32) { return v.index; }
u64 supervisor_ve(Vcpu& v, u32) { return v.cpuid_supervisor_ve; }
u64 user_ve(Vcpu& v, u32) { return v.cpuid_user_ve; }
u64 last_exit_tsc(Vcpu& v, u32) { return v.last_exit_tsc; }
u64 pend_nmi(Vcpu& v, u32) { return v.pend_nmi; }
u64 zero(Vcpu&, u32) { return 0; }
u64 xcr0(Vcpu& v, u32) { return v.context.xcr0; }
u64 cr2(Vcpu& v, u32) { return v.context.cr2; }
u64 gpr(Vcpu& v, u32 i) { return i == 4 ? v.vmcs.rsp : v.context.gpr[i]; }
u64 ve_reason(Vcpu& v, u32) { return v.ve_info().exit_reason; }
u64 ve_valid(Vcpu& v, u32) { return v.ve_info().valid; }

// A virtual interrupt is pending and above the processor's priority. SDM: "Evaluation of Pending Virtual
// Interrupts".
u64 state_details(Vcpu& v, u32)
{
    constexpr u64 kPprOffset = 0xa0;
    const u32 ppr = mem::host_ptr<u32>(v.virtual_apic_page())[kPprOffset / sizeof(u32)];
    const unsigned rvi = v.vmcs.guest_intr_status & 0xff;
    return (rvi >> 4) > (ppr >> 4 & 15) ? md::VMXIP : 0;
}

// As TDG.VP.CPUIDVE.SET: nothing changes any more once the guest has locked its controls.
bool set_cpuid_ve(const Vcpu& v, std::atomic<bool>& which, u64 value)
{
    if ((value != 0) != which && (v.td.td_ctls & spec::td_ctls::LOCK))
        return false;
    which = value != 0;
    return true;
}
bool set_supervisor_ve(Vcpu& v, u32, u64 value) { return set_cpuid_ve(v, v.cpuid_supervisor_ve, value); }
bool set_user_ve(Vcpu& v, u32, u64 value) { return set_cpuid_ve(v, v.cpuid_user_ve, value); }

bool set_pend_nmi(Vcpu& v, u32, u64 value)
{
    v.pend_nmi = value != 0;
    return true;
}

// clang-format off
constexpr u8 R = kHostRead, W = kHostWrite, D = kDebugRead, G = kGuestRead;
constexpr Row kRows[] = {
    {md::VE_EXIT_REASON,      1, D, ve_reason},
    {md::VE_VALID,            1, D, ve_valid},
    {md::VCPU_GPR,           16, D, gpr},
    {md::VCPU_XCR0,           1, D, xcr0},
    {md::VCPU_CR2,            1, D, cr2},
    {md::VCPU_STATE_DETAILS,  1, R, state_details},
    {md::VCPU_STATE,          1, R, state},
    {md::VCPU_INDEX,          1, R | G, index_of},
    {md::CPUID_SUPERVISOR_VE, 1, R | G | kGuestWrite, supervisor_ve, set_supervisor_ve, 1},
    {md::CPUID_USER_VE,       1, R | G | kGuestWrite, user_ve, set_user_ve, 1},
    {md::LAST_EXIT_TSC,       1, R, last_exit_tsc},
    {md::PEND_NMI,            1, R | W, pend_nmi, set_pend_nmi, 1},
    {md::CURR_VM,             1, R | G, zero},
};
// clang-format on
static_assert(ascending_fields(kRows));

// Class 0: VMCS fields that the host of any TD may access. Others are for debug TDs, to read.
struct VmcsRow {
    VmcsField field;
    u64 write_mask;
};
constexpr VmcsRow kVmcsRows[] = {
    {VmcsField::POSTED_INTR_NV, 0xff},
    {VmcsField::POSTED_INTR_DESC_ADDR, bits(51, 6)},
    {VmcsField::SHARED_EPT_POINTER, bits(51, 12)},
    {VmcsField::PIN_BASED_VM_EXEC_CONTROL, spec::pin::POSTED_INTERRUPTS},
};

const VmcsRow* find_vmcs(u64 id)
{
    for (const VmcsRow& row : kVmcsRows)
        if (static_cast<u64>(row.field) == md::code(id))
            return &row;
    return nullptr;
}

bool is_vmcs(u64 id) { return md::class_of(id) == 0; }

bool vmcs_value_ok(VmcsField field, u64 value)
{
    const bool address = field == VmcsField::POSTED_INTR_DESC_ADDR || field == VmcsField::SHARED_EPT_POINTER;
    return !address || mem::hkid_of(Hpa(value)) < kFirstPrivateHkid; // the host's own key only
}

MdValue access_vmcs(Vcpu& vcpu, u64 id, bool write, u64 data, u64 mask)
{
    if (id & md::kMustBeZero)
        return {spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    const auto now = cpu::vmread(vcpu.vmcs, static_cast<u32>(md::code(id)));
    if (!now.ok())
        return {spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    const VmcsRow* row = find_vmcs(id);
    if (!write) {
        if (!row && !vcpu.td.debug())
            return {spec::TdxStatus::METADATA_FIELD_NOT_READABLE};
        return {spec::TdxStatus::SUCCESS, now.value()};
    }
    const u64 writable = row ? mask & row->write_mask : 0;
    if (writable == 0)
        return {spec::TdxStatus::METADATA_FIELD_NOT_WRITABLE};
    u64 value = (now.value() & ~writable) | (data & writable);
    if (!vmcs_value_ok(row->field, value))
        return {spec::TdxStatus::METADATA_FIELD_VALUE_NOT_VALID};
    if (row->field == VmcsField::SHARED_EPT_POINTER)
        value |= vcpu.td.eptp_controls & bits(5, 0);
    if (!cpu::vmwrite(vcpu.vmcs, static_cast<u32>(md::code(id)), value).ok())
        return {spec::TdxStatus::METADATA_FIELD_NOT_WRITABLE};
    return {spec::TdxStatus::SUCCESS, now.value()};
}

} // namespace

MdValue read_vcpu_field(Vcpu& vcpu, u64 id, MdCaller caller)
{
    if (caller == MdCaller::guest)
        return read_field<Vcpu>(kRows, vcpu, id, kGuestRead);
    if (is_vmcs(id))
        return access_vmcs(vcpu, id, false, 0, 0);
    return read_field<Vcpu>(kRows, vcpu, id,
                            static_cast<u8>(vcpu.td.debug() ? kHostRead | kDebugRead : kHostRead));
}

MdValue write_vcpu_field(Vcpu& vcpu, u64 id, u64 data, u64 mask, MdCaller caller)
{
    if (caller == MdCaller::guest)
        return write_field<Vcpu>(kRows, vcpu, id, data, mask, kGuestWrite);
    if (is_vmcs(id))
        return access_vmcs(vcpu, id, true, data, mask);
    return write_field<Vcpu>(kRows, vcpu, id, data, mask, kHostWrite);
}

u64 next_vcpu_field(u64 id) { return next_field<Vcpu>(kRows, id); }

} // namespace seamless::tdx
