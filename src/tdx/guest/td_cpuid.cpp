// SPDX-License-Identifier: Apache-2.0
// The CPUID tables of a TD, and the values that follow the processor's state.
#include "tdx/guest/td_cpuid.h"

#include <algorithm>
#include <bit>

#include "spec/x86.h"

namespace seamless::tdx {
namespace {

using cpu::CpuidResult;

constexpr u32 kNone = ~0u, kAll = ~0u;
constexpr u32 kMaxLeaf = 0x23, kMaxExtendedLeaf = 0x80000008;

// clang-format off
// Values are {EAX, EBX, ECX, EDX}.
constexpr CpuidRow kConfigRows[] = {
    {1, kNone, {0, 0x0800, 0x80000000, 0x200}, {0xf000c000, 0xff00ffff, 0x08010060, 0x40120400}, {0x0fff3fff, 0x00ff0000, 0, 0}, {0, 0, 0x31044d88, 0xb8445080}},
    {4, 0, {0, 0x3f, 0, 0}, {0, 0xfff, 0, 0}, {0xffffc3ff, 0xfffff000, kAll, 7}, {}},
    {4, 1, {0, 0x3f, 0, 0}, {0, 0xfff, 0, 0}, {0xffffc3ff, 0xfffff000, kAll, 7}, {}},
    {4, 2, {0, 0x3f, 0, 0}, {0, 0xfff, 0, 0}, {0xffffc3ff, 0xfffff000, kAll, 7}, {}},
    {4, 3, {0, 0x3f, 0, 0}, {0, 0xfff, 0, 0}, {0xffffc3ff, 0xfffff000, kAll, 7}, {}},
    {7, 0, {2, 0, 0, 0}, {kAll, 0x00404006, 0x643e8010, 0x002298c3}, {}, {0, 0xdc2b9b18, 0x02417f65, 0x4005411c}},
    {7, 1, {}, {0, kAll, kAll, 0}, {}, {0x04881db0, 0, 0, 0x00024430}},
    {7, 2, {}, {kAll, kAll, kAll, 0xffffffc0}, {}, {0, 0, 0, 0x28}},
    {0x1f, 0, {}, {kAll, kAll, kAll, kAll}, {0x1f, 0xffff, 0xffff, 0}, {}},
    {0x1f, 1, {}, {kAll, kAll, kAll, kAll}, {0x1f, 0xffff, 0xffff, 0}, {}},
    {0x1f, 2, {}, {kAll, kAll, kAll, kAll}, {0x1f, 0xffff, 0xffff, 0}, {}},
    {0x80000008, kNone, {}, {0xffff00ff, 0xfffffdff, kAll, kAll}, {0xff, 0, 0, 0}, {0, 0x200, 0, 0}},
};

// Leaves with values that nobody chooses.
constexpr CpuidRow kFixedRows[] = {
    {0, kNone,          {kMaxLeaf, 0x756e6547, 0x6c65746e, 0x49656e69}, {kAll, kAll, kAll, kAll}},
    {2, kNone,          {0x00feff01, 0, 0, 0},                          {kAll, kAll, kAll, kAll}}, // these raise #VE at first
    {6, kNone,          {4, 0, 0, 0},                                   {kAll, kAll, kAll, kAll}},
    {0x21, 0,           {0, 0x65746e49, 0x20202020, 0x5844546c},        {kAll, kAll, kAll, kAll}},
    {0x80000000, kNone, {kMaxExtendedLeaf, 0, 0, 0},                    {kAll, kAll, kAll, kAll}},
    {0x80000001, kNone, {0, 0, 0x121, 0x2c100000},                      {kAll, kAll, kAll, kAll}},
    {0x80000002, kNone, {0x65746e49, 0x4454206c, 0x20202058, 0},        {kAll, kAll, kAll, kAll}},
    {0x80000006, kNone, {0, 0, 0x7040, 0},                              {kAll, kAll, kAll, kAll}},
    {0x80000007, kNone, {0, 0, 0, 0x100},                               {kAll, kAll, kAll, kAll}},
};

// CPUID bits that go away with XFAM components.
struct XfamRow { u64 xfam; u32 leaf, subleaf; CpuidResult bits; };
constexpr XfamRow kXfamRows[] = {
    {spec::xfam::AVX,    1, kNone, {0, 0, 0x30001000, 0}},
    {spec::xfam::AVX,    7, 0,     {0, 0x20, 0x600, 0}},
    {spec::xfam::AVX,    7, 1,     {0x800010, 0, 0, 0x430}},
    {spec::xfam::AVX512, 7, 0,     {0, 0xdc230000, 0x5842, 0x80010c}},
    {spec::xfam::AVX512, 7, 1,     {0x20, 0, 0, 0}},
    {spec::xfam::PT,     7, 0,     {0, 0x02000000, 0, 0}},
    {spec::xfam::PKRU,   7, 0,     {0, 0, 8, 0}},
    {spec::xfam::CET,    7, 0,     {0, 0, 0x80, 0x100000}},
    {spec::xfam::UINTR,  7, 0,     {0, 0, 0, 0x20}},
    {spec::xfam::LBR,    7, 0,     {0, 0, 0, 0x80000}},
    {spec::xfam::AMX,    7, 0,     {0, 0, 0, 0x03400000}},
};

// Leaves that raise #VE, and leaves that are zero.
constexpr u32 kVeLeaves[] = {2, 6, 9, 0xc, 0xf, 0x10, 0x16, 0x17, 0x1b, 0x80000002, 0x80000003, 0x80000004, 0x80000005};
// clang-format on

constexpr u32 CpuidResult::*kRegs[] = {&CpuidResult::eax, &CpuidResult::ebx, &CpuidResult::ecx,
                                       &CpuidResult::edx};
constexpr u32 spec::CpuidValues::*kConfigRegs[] = {&spec::CpuidValues::eax, &spec::CpuidValues::ebx,
                                                   &spec::CpuidValues::ecx, &spec::CpuidValues::edx};

CpuidResult native_of(u32 leaf, u32 subleaf)
{
    CpuidResult native = cpu::native_cpuid(leaf, subleaf == kNone ? 0 : subleaf);
    if (leaf == 1)
        native.eax = kNativeCpuid1Eax;
    if (leaf == 7 && subleaf == 0)
        native.edx |= kNativeCpuid7Edx;
    if (leaf == 7 && subleaf == 2)
        native.edx |= kNativeCpuid72Edx;
    return native;
}

CpuidResult compute(const CpuidRow& row, const spec::CpuidValues& config, const Td& td)
{
    CpuidResult value = native_of(row.leaf, row.subleaf);
    for (unsigned r = 0; r < 4; ++r) {
        u32& v = value.*kRegs[r];
        const u32 chosen = config.*kConfigRegs[r];
        v = (v & ~(row.fixed0.*kRegs[r])) | row.fixed1.*kRegs[r];
        v = (v & ~(row.direct.*kRegs[r])) | (chosen & row.direct.*kRegs[r]);
        v &= ~(row.allow.*kRegs[r]) | chosen;
        for (const XfamRow& x : kXfamRows)
            if (x.leaf == row.leaf && x.subleaf == row.subleaf && (td.xfam & x.xfam) != x.xfam)
                v &= ~(x.bits.*kRegs[r]);
    }
    if (row.leaf == 1) // DEVIATION: an identity that is not this platform's is ignored, since the machine
                       // below has another
        value.eax = kNativeCpuid1Eax;
    if (row.leaf == 7 && row.subleaf == 0)
        value.ecx |= td.attributes & spec::td_attributes::PKS ? 1u << 31 : 0;
    if (row.leaf == 0x80000008) {
        const u32 linear_width = cpu::native_cpuid(0x80000008, 0).eax & 0xff00;
        value.eax = (value.eax & 0xff ? value.eax & 0xff : 52) | linear_width;
    }
    return value;
}

constexpr u64 kUserXfam = spec::xfam::X87 | spec::xfam::SSE | spec::xfam::AVX | spec::xfam::AVX512 |
                          spec::xfam::PKRU | spec::xfam::AMX;

// Size of the XSAVE area for the components of `mask`; compacted or standard.
u32 xsave_size(u64 mask, bool compacted)
{
    u32 size = 576;
    for (unsigned i = 2; i < 63; ++i) {
        if (!test(mask, i))
            continue;
        const CpuidResult c = cpu::native_cpuid(0xd, i);
        if (compacted)
            size = ((c.ecx & 2) ? align_up(size, 64u) : size) + c.eax;
        else
            size = std::max(size, c.ebx + c.eax);
    }
    return size;
}

CpuidResult xsave_leaf(const Vcpu& vcpu, u32 subleaf)
{
    const u64 xfam = vcpu.td.xfam, user = xfam & kUserXfam;
    if (subleaf == 0)
        return {static_cast<u32>(user), xsave_size(vcpu.context.xcr0, false), xsave_size(user, false),
                static_cast<u32>(user >> 32)};
    if (subleaf == 1) {
        const u32 features = cpu::native_cpuid(0xd, 1).eax & ((xfam & spec::xfam::AMX) ? 0x1f : 0xf);
        return {features, xsave_size(vcpu.context.xcr0 | vcpu.context.xss, true),
                static_cast<u32>(xfam & ~kUserXfam), 0};
    }
    return subleaf < 63 && test(xfam, subleaf) ? cpu::native_cpuid(0xd, subleaf) : CpuidResult{};
}

// What depends on the processor's state or on the vCPU.
CpuidResult dynamic(const Vcpu& vcpu, u32 leaf, u32 subleaf, CpuidResult value)
{
    const Td& td = vcpu.td;
    if (leaf == 1) {
        const u32 id = td.topology_enum_configured ? vcpu.x2apic_id : vcpu.index;
        value.ebx = (value.ebx & 0x00ffffff) | id << 24;
        value.ecx = (value.ecx & ~(1u << 27)) | (vcpu.vmcs.cr4 & spec::cr4::OSXSAVE ? 1u << 27 : 0);
    } else if (leaf == 7 && subleaf == 0) {
        value.ecx = (value.ecx & ~0x10u) | (vcpu.vmcs.cr4 & spec::cr4::PKE ? 0x10u : 0);
    } else if (leaf == 0x1f || leaf == 0xb) {
        value.ecx = (value.ecx & 0xff00) | (subleaf & 0xff);
        value.edx = vcpu.x2apic_id;
    } else if (leaf == 0x80000001) {
        const bool long_mode =
            (vcpu.vmcs.efer & spec::efer::LMA) && (vcpu.vmcs.seg[1].ar & spec::segment_ar::L);
        value.edx = (value.edx & ~0x800u) | (long_mode ? 0x800u : 0);
    }
    return value;
}

bool raises_ve(const Td& td, u32 leaf)
{
    if (td.reduce_ve())
        return false;
    if (leaf == 2)
        return !(td.td_ctls & spec::td_ctls::VIRT_CPUID2);
    if (leaf == 0xb || leaf == 0x1f)
        return !(td.td_ctls & spec::td_ctls::ENUM_TOPOLOGY);
    return std::find(std::begin(kVeLeaves), std::end(kVeLeaves), leaf) != std::end(kVeLeaves);
}

} // namespace

std::span<const CpuidRow> cpuid_config_rows() { return kConfigRows; }

CpuidResult cpuid_config_mask(const CpuidRow& row)
{
    const CpuidResult native = native_of(row.leaf, row.subleaf);
    CpuidResult mask;
    for (const auto reg : kRegs)
        mask.*reg = row.direct.*reg | (row.allow.*reg & native.*reg);
    return mask;
}

bool configure_cpuid(Td& td, std::span<const spec::CpuidValues> config, const CpuidRow*& bad)
{
    std::vector<VirtualCpuid> values;
    for (std::size_t i = 0; i < std::size(kConfigRows); ++i) {
        const CpuidRow& row = kConfigRows[i];
        bad = &row;
        for (unsigned r = 0; r < 4; ++r)
            if (config[i].*kConfigRegs[r] & ~(row.direct.*kRegs[r] | row.allow.*kRegs[r]))
                return false;
        if (row.leaf == 7 && row.subleaf == 0 &&
            test(config[i].ebx, 4) != test(config[i].ebx, 11)) // HLE, RTM
            return false;
        values.push_back({row.leaf, row.subleaf, compute(row, config[i], td)});
    }
    for (const CpuidRow& row : kFixedRows)
        values.push_back({row.leaf, row.subleaf, compute(row, {}, td)});
    values.push_back({0x15, kNone, {1, td.tsc_frequency, static_cast<u32>(spec::kTscUnitHz), 0}});
    td.cpuid = std::move(values);
    const CpuidResult* topology = td.find_cpuid(0x1f, 0);
    td.topology_enum_configured = topology && topology->ebx != 0;
    return true;
}

std::optional<CpuidResult> td_cpuid(const Vcpu& vcpu, u32 leaf, u32 subleaf)
{
    const Td& td = vcpu.td;
    if (leaf >= 0x40000000 && leaf <= 0x4fffffff)
        return std::nullopt;
    const unsigned cpl = spec::segment_ar::dpl(vcpu.vmcs.seg[static_cast<unsigned>(spec::Seg::ss)].ar);
    if (cpl == 0 ? vcpu.cpuid_supervisor_ve.load() : vcpu.cpuid_user_ve.load())
        return std::nullopt;
    if (leaf > (leaf >> 31 ? kMaxExtendedLeaf : kMaxLeaf))
        leaf = kMaxLeaf;
    if (raises_ve(td, leaf))
        return std::nullopt;
    if (leaf == 0xd)
        return xsave_leaf(vcpu, subleaf);
    if (leaf == 0xb)
        leaf = 0x1f; // ENUM_TOPOLOGY: both leaves tell the same
    const CpuidResult* value = td.find_cpuid(leaf, subleaf);
    return dynamic(vcpu, leaf, subleaf, value ? *value : CpuidResult{});
}

} // namespace seamless::tdx
