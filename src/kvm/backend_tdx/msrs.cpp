// SPDX-License-Identifier: Apache-2.0
// The MSRs that a TD reaches through TDVMCALL, and that KVM_GET_MSRS and SET_MSRS know for it. What no row
// names fails.
#include "base/table.h"
#include "kvm/backend_tdx/tdx.h"
#include "kvm/memory_types.h"

namespace seamless::kvm {

using namespace spec;

namespace {

enum class Who : u8 { nobody, host, everybody };
enum class Guest : u8 { writes, ignored }; // what an allowed guest write does

struct MsrRange {
    u32 last; // inclusive; the table is sorted by it
    u32 first;
    Who writer;
    u64 writable;
    u64 reset;
    Guest guest = Guest::writes;
};

// clang-format off
constexpr MsrRange kMsrs[] = {
    {0x0000001b, 0x0000001b, Who::nobody,    0,         0},                      // APICBASE: the vCPU's
    {0x0000003a, 0x0000003a, Who::nobody,    0,         1},                      // FEATURE_CONTROL: locked
    {0x0000008b, 0x0000008b, Who::everybody, ~u64{0},   u64{1} << 32, Guest::ignored},
    {0x000000ce, 0x000000ce, Who::host,      ~u64{0},   0},                      // PLATFORM_INFO
    {0x000000fe, 0x000000fe, Who::nobody,    0,         0x508},                  // MTRRcap: 8 variable, fixed, WC
    {0x0000010a, 0x0000010a, Who::host,      ~u64{0},   0},                      // ARCH_CAPABILITIES
    {0x00000140, 0x00000140, Who::everybody, 0,         0},                      // MISC_FEATURES_ENABLES
    {0x00000179, 0x00000179, Who::nobody,    0,         0x20},                   // MCG_CAP: 32 banks
    {0x0000017a, 0x0000017a, Who::everybody, ~u64{0},   0},                      // MCG_STATUS
    {0x000001a0, 0x000001a0, Who::everybody, ~u64{0},   0x1800},                 // MISC_ENABLE
    {0x000001fc, 0x000001fc, Who::everybody, ~u64{0},   0},                      // POWER_CTL
    {0x0000026f, 0x00000200, Who::everybody, ~u64{0},   0},                      // MTRRs
    {0x00000277, 0x00000277, Who::everybody, ~u64{0},   0x0007040600070406},     // PAT
    {0x0000029f, 0x00000280, Who::everybody, ~u64{0},   0},                      // MC banks' CTL2
    {0x000002ff, 0x000002ff, Who::everybody, 0xcff,     0},                      // MTRRdefType
    {0x0000047f, 0x00000400, Who::everybody, ~u64{0},   0},                      // MC banks
    {0x000006e0, 0x000006e0, Who::everybody, ~u64{0},   0},                      // TSC_DEADLINE
    {0x4b564d05, 0x4b564d05, Who::everybody, 1,         1},                      // KVM_POLL_CONTROL
    {0xc0000080, 0xc0000080, Who::nobody,    0,         0xd01},                  // EFER: SCE, LME, LMA, NXE
};
// clang-format on
static_assert(base::strictly_ascending(kMsrs, &MsrRange::last));

constexpr u32 kApicBase = 0x1b, kMiscEnable = 0x1a0, kPat = 0x277, kArchCapabilities = 0x10a,
              kTscDeadline = 0x6e0;

const MsrRange* find(u32 index)
{
    const auto* row = std::lower_bound(std::begin(kMsrs), std::end(kMsrs), index,
                                       [](const MsrRange& r, u32 wanted) { return r.last < wanted; });
    return row != std::end(kMsrs) && index >= row->first ? row : nullptr;
}

bool is_x2apic(u32 index)
{
    // Registers that the processor virtualizes never reach KVM; its own list excludes just these six.
    return index >= 0x800 && index <= 0x8ff && index != 0x808 && index != 0x80a && index != 0x80b &&
           index != 0x810 && index != 0x818 && index != 0x820;
}

Failure<Errno> refused() { return fail(Errno{EINVAL}); }

} // namespace

Result<u64, Errno> tdx_get_msr(Vcpu& vcpu, u32 index, bool)
{
    if (is_x2apic(index))
        return vcpu.lapic.read_msr(index);
    const MsrRange* row = find(index);
    if (!row || (is_mtrr_number(index) && !has_mtrr(index)))
        return refused();
    if (index == kApicBase)
        return vcpu.lapic.base();
    if (index == kTscDeadline)
        return vcpu.lapic.tsc_deadline();
    if (index == kArchCapabilities) {
        const auto* entry = find_cpuid_entry(vcpu, 7, 0);
        if (!entry || !test(entry->edx, 29))
            return refused();
    }
    const auto stored = vcpu.msrs.find(index);
    return stored == vcpu.msrs.end() ? row->reset : stored->second;
}

Result<void, Errno> tdx_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host)
{
    if (is_x2apic(index))
        return vcpu.lapic.write_msr(index, data);
    const MsrRange* row = find(index);
    if (!row || row->writer == Who::nobody || (row->writer == Who::host && !host) || (data & ~row->writable))
        return refused();
    if (!host && row->guest == Guest::ignored)
        return {};
    if ((index == kPat && !pat_valid(data)) || (is_mtrr_number(index) && !mtrr_valid(vcpu, index, data)))
        return refused();
    if (index == kMiscEnable && !host) {
        constexpr u64 kUnavailable = bit(11) | bit(12), kIgnored = bit(7);
        const u64 old = TRY(tdx_get_msr(vcpu, index, host));
        if ((old ^ data) & kUnavailable)
            return refused();
        data = (data & ~kIgnored) | (old & kIgnored);
    }
    if (index == kTscDeadline)
        vcpu.lapic.set_tsc_deadline(data);
    else
        vcpu.msrs[index] = data;
    return {};
}

} // namespace seamless::kvm
