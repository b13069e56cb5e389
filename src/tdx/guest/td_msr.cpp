// SPDX-License-Identifier: Apache-2.0
// The MSR table of a TD.
#include "tdx/guest/td_msr.h"

#include <algorithm>
#include <cstring>

#include "base/table.h"

namespace seamless::tdx {
namespace {

using enum MsrAction;

// clang-format off
constexpr MsrRow kMsrs[] = {   // first, last, read, write, present if; read and write with REDUCE_VE
    {0x0, 0x1, ve, ve}, {0x6, 0x6, ve, ve},
    {0x10, 0x10, native, ve},                     // TSC
    {0x17, 0x17, ve, ve, MsrIf::not_reduced, ve, gp},             // PLATFORM_ID
    {0x1b, 0x1b, ve, ve},                         // APIC_BASE
    {0x33, 0x33, ve, ve, MsrIf::core_cap},
    {0x34, 0x34, ve, ve, MsrIf::not_reduced, value, value},       // SMI_COUNT
    {0x3a, 0x3a, ve, ve, MsrIf::not_reduced, value, gp},          // FEATURE_CONTROL
    {0x3b, 0x3b, ve, ve, MsrIf::not_reduced},
    {0x48, 0x49, native, native},                 // SPEC_CTRL, PRED_CMD
    {0x4e, 0x4e, ve, ve, MsrIf::not_reduced, value, gp}, {0x4f, 0x4f, ve, ve, MsrIf::not_reduced}, // PPIN
    {0x79, 0x79, ve, ve, MsrIf::not_reduced, gp, value},          // BIOS_UPDT_TRIG
    {0x7a, 0x7a, ve, ve, MsrIf::not_reduced}, {0x82, 0x86, ve, ve, MsrIf::not_reduced},
    {0x87, 0x87, ve, ve, MsrIf::pconfig},
    {0x8b, 0x8b, ve, ve, MsrIf::not_reduced, value, value},       // BIOS_SIGN_ID
    {0x8c, 0x8f, gp, gp}, {0x98, 0x9b, gp, gp}, {0x9e, 0x9e, gp, gp},
    {0xbc, 0xbc, native, ve},                     // MISC_PACKAGE_CTLS
    {0xbd, 0xbd, value, gp},                      // XAPIC_DISABLE_STATUS
    {0xc1, 0xc8, native, native, MsrIf::perfmon},
    {0xce, 0xce, ve, ve, MsrIf::not_reduced, value, gp},          // PLATFORM_INFO
    {0xcf, 0xcf, ve, gp, MsrIf::core_cap},
    {0xe1, 0xe1, native, native, MsrIf::waitpkg},
    {0xe7, 0xe8, ve, ve, MsrIf::not_reduced},
    {0xed, 0xf0, ve, ve, MsrIf::core_cap},
    {0xfe, 0xfe, ve, gp, MsrIf::mtrr},
    {0x10a, 0x10a, value, gp},                    // ARCH_CAPABILITIES
    {0x10b, 0x10b, native, native},               // FLUSH_CMD
    {0x10f, 0x10f, ve, ve, MsrIf::not_reduced},
    {0x122, 0x122, gp, gp},                       // TSX_CTRL: no TSX in TDs of this platform
    {0x123, 0x123, ve, ve, MsrIf::not_reduced}, {0x140, 0x140, ve, ve, MsrIf::not_reduced, value, value}, // FEATURE_ENABLES
    {0x174, 0x176, native, native},               // SYSENTER
    {0x179, 0x179, ve, gp, MsrIf::mca}, {0x17a, 0x17b, ve, ve, MsrIf::mca},
    {0x186, 0x18d, native, native, MsrIf::perfmon},
    {0x195, 0x195, gp, gp},
    {0x198, 0x199, ve, ve, MsrIf::est},
    {0x19a, 0x19c, ve, ve, MsrIf::acpi}, {0x19d, 0x19d, ve, ve, MsrIf::tm2},
    {0x1a0, 0x1a0, value, ve, MsrIf::not_reduced, value, value},  // MISC_ENABLE
    {0x1a6, 0x1a7, native, native, MsrIf::perfmon},
    {0x1b0, 0x1b2, ve, ve, MsrIf::not_reduced},
    {0x1c4, 0x1c5, native, native, MsrIf::xfd},   // XFD, XFD_ERR
    {0x1d9, 0x1d9, value, value},                 // DEBUGCTL
    {0x1f8, 0x1fa, ve, ve, MsrIf::dca},
    {0x200, 0x275, ve, ve, MsrIf::mtrr}, {0x276, 0x276, gp, gp},
    {0x277, 0x277, native, native},               // PAT
    {0x278, 0x2ff, ve, ve, MsrIf::mtrr},
    {0x309, 0x30c, native, native, MsrIf::perfmon}, {0x345, 0x345, value, gp},
    {0x38d, 0x38d, native, native, MsrIf::perfmon}, {0x38e, 0x38e, native, gp, MsrIf::perfmon},
    {0x38f, 0x391, native, native, MsrIf::perfmon}, {0x392, 0x392, native, gp, MsrIf::perfmon},
    {0x3f1, 0x3f7, native, native, MsrIf::perfmon},
    {0x400, 0x47f, ve, ve, MsrIf::mca},
    {0x480, 0x493, gp, gp},                       // VMX capabilities
    {0x4c1, 0x4c8, native, native, MsrIf::perfmon},
    {0x500, 0x500, gp, gp}, {0x501, 0x501, ve, ve},
    {0x560, 0x587, gp, gp},                       // RTIT: no PT on this platform
    {0x600, 0x600, native, native},               // DS_AREA
    {0x6a0, 0x6a8, native, native, MsrIf::cet},
    {0x6e0, 0x6e0, ve, ve, MsrIf::tsc_deadline},
    {0x6e1, 0x6e1, native, native, MsrIf::pks},
    {0x800, 0x801, gp, gp},
    {0x802, 0x802, value, gp},                    // x2APIC id
    {0x803, 0x803, ve, ve}, {0x804, 0x807, gp, gp},
    {0x808, 0x808, native, native},               // TPR
    {0x80a, 0x80a, native, gp},                   // PPR
    {0x80b, 0x80b, native, native},               // EOI
    {0x80d, 0x80d, ve, ve}, {0x80f, 0x80f, ve, ve},
    {0x810, 0x827, native, gp},                   // ISR, TMR, IRR
    {0x828, 0x828, ve, ve}, {0x829, 0x82e, gp, gp},
    {0x82f, 0x830, ve, ve}, {0x831, 0x831, gp, gp}, {0x832, 0x839, ve, ve}, {0x83e, 0x83e, ve, ve},
    {0x83f, 0x83f, native, native},               // SELF_IPI
    {0x840, 0x8ff, gp, gp},
    {0x981, 0x984, ve, ve, MsrIf::tme}, {0x985, 0x98a, native, native, MsrIf::uintr},
    {0xc80, 0xc80, value, ve},                    // DEBUG_INTERFACE
    {0xc81, 0xc83, ve, ve, MsrIf::rdt_a}, {0xc8d, 0xc8f, ve, ve, MsrIf::rdt_m}, {0xc90, 0xd8f, ve, ve, MsrIf::rdt_a},
    {0xd90, 0xd90, gp, gp}, {0xd93, 0xd93, gp, gp},
    {0xda0, 0xda0, value, value},                 // XSS
    {0x1200, 0x12ff, gp, gp}, {0x14ce, 0x14cf, gp, gp}, {0x1500, 0x151f, gp, gp}, {0x1600, 0x161f, gp, gp},
    {0x1b01, 0x1b01, native, native},             // UARCH_MISC_CTL
    {0xc0000080, 0xc0000080, native, value},      // EFER
    {0xc0000081, 0xc0000082, native, native},     // STAR, LSTAR
    {0xc0000083, 0xc0000083, ve, ve},             // CSTAR
    {0xc0000084, 0xc0000084, native, native},     // FMASK
    {0xc0000100, 0xc0000103, native, native},     // FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX
};
// clang-format on
static_assert(strictly_ascending(kMsrs, &MsrRow::first));

// The CPUID bit that tells whether a feature is there, and whether it is always there while #VE is not
// reduced.
struct FeatureRow {
    MsrIf feature;
    u32 leaf;
    u32 cpu::CpuidResult::*reg;
    unsigned bit;
    bool unless_reduced = false;
};
using cpu::CpuidResult;
constexpr FeatureRow kFeatures[] = {
    {MsrIf::est, 1, &CpuidResult::ecx, 7},         {MsrIf::tm2, 1, &CpuidResult::ecx, 8},
    {MsrIf::dca, 1, &CpuidResult::ecx, 18},        {MsrIf::tsc_deadline, 1, &CpuidResult::ecx, 24},
    {MsrIf::mtrr, 1, &CpuidResult::edx, 12, true}, {MsrIf::mca, 1, &CpuidResult::edx, 14, true},
    {MsrIf::acpi, 1, &CpuidResult::edx, 22},       {MsrIf::rdt_m, 7, &CpuidResult::ebx, 12},
    {MsrIf::rdt_a, 7, &CpuidResult::ebx, 15},      {MsrIf::tme, 7, &CpuidResult::ecx, 13},
    {MsrIf::pconfig, 7, &CpuidResult::edx, 18},    {MsrIf::core_cap, 7, &CpuidResult::edx, 30, true},
    {MsrIf::waitpkg, 7, &CpuidResult::ecx, 5},
};

bool present(const Td& td, MsrIf condition)
{
    switch (condition) {
    case MsrIf::always:
        return true;
    case MsrIf::not_reduced:
        return !td.reduce_ve();
    case MsrIf::perfmon:
        return td.attributes & spec::td_attributes::PERFMON;
    case MsrIf::pks:
        return td.attributes & spec::td_attributes::PKS;
    case MsrIf::uintr:
        return td.xfam & spec::xfam::UINTR;
    case MsrIf::xfd:
        return (td.xfam & spec::xfam::AMX) == spec::xfam::AMX;
    case MsrIf::cet:
        return td.xfam & spec::xfam::CET;
    default:
        break;
    }
    for (const FeatureRow& row : kFeatures)
        if (row.feature == condition) {
            const CpuidResult* values = td.find_cpuid(row.leaf, 0);
            return (row.unless_reduced && !td.reduce_ve()) || (values && test(values->*row.reg, row.bit));
        }
    return false;
}

} // namespace

const MsrRow* find_msr(u32 msr)
{
    const MsrRow* row = std::upper_bound(std::begin(kMsrs), std::end(kMsrs), msr,
                                         [](u32 wanted, const MsrRow& r) { return wanted < r.first; });
    return row != std::begin(kMsrs) && msr <= (row - 1)->last ? row - 1 : nullptr;
}

MsrAction msr_action(const Td& td, u32 msr, bool write)
{
    if (const MsrRow* row = find_msr(msr)) {
        if (present(td, row->condition))
            return write ? row->write : row->read;
        return row->condition != MsrIf::not_reduced ? gp : write ? row->reduced_write : row->reduced_read;
    }
    const bool in_bitmap = msr <= 0x1fff || (msr >= 0xc0000000 && msr <= 0xc0001fff);
    return in_bitmap && td.reduce_ve() ? gp : ve;
}

void build_msr_bitmap(const Td& td, Hpa page)
{
    u8* const bitmap = mem::host_ptr<u8>(page); // SDM: reads of low, of high MSRs, then writes of both
    std::memset(bitmap, 0xff, kPageSize);
    const auto clear = [bitmap](u32 msr, bool write) {
        const u32 at = (write ? 2048u : 0u) + (msr >= 0xc0000000 ? 1024u : 0u) + (msr & 0x1fff) / 8;
        bitmap[at] = static_cast<u8>(bitmap[at] & ~(1u << (msr & 7)));
    };
    for (const MsrRow& row : kMsrs)
        for (u32 msr = row.first; msr <= row.last; ++msr)
            for (const bool write : {false, true})
                if (msr_action(td, msr, write) == native)
                    clear(msr, write);
}

} // namespace seamless::tdx
