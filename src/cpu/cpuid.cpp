// SPDX-License-Identifier: Apache-2.0
// Native CPUID: host features ANDed with what the engine executes, plus what it executes in C++ on every
// host.
#include "cpu/cpuid.h"

#include <cpuid.h>
#include <mutex>
#include <unordered_map>

#include "spec/x86.h"

namespace seamless::cpu {
namespace {

enum class Reg : u8 { eax, ebx, ecx, edx };

// Feature bits of one register: `offered` are given if the host has them, `always` are executed in C++.
struct FeatureRow {
    u32 leaf;
    u32 subleaf;
    Reg reg;
    u32 offered;
    u32 always;
};

// clang-format off
// SDM: "CPUID—CPU Identification". What no bit names here is not offered: VMX, SMX, MONITOR, MPX, TSX, SGX, PT, PKU,
// CET, AMX, UINTR, key locker, WAITPKG, ENQCMD, MOVDIR64B, perfmon. DEVIATION: nor AVX-512, whose masks suppress faults of
// single elements and whose gathers take a vector of addresses: the translator does neither.
constexpr FeatureRow kFeatures[] = {
    // SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C; always x2APIC TSC-deadline RDRAND
    {1, 0, Reg::ecx, 0x36da3203, 0x41200000},
    // FPU DE PSE TSC MSR PAE MCE CX8 SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 SS; always APIC
    {1, 0, Reg::edx, 0x0f8bf9fd, 0x00000200},
    // FSGSBASE BMI1 AVX2 BMI2 ERMS CLFLUSHOPT CLWB SHA ADX; always SMEP INVPCID RDSEED SMAP
    {7, 0, Reg::ebx, 0x21880329, 0x00140480},
    // GFNI VAES VPCLMULQDQ; always UMIP LA57 RDPID
    {7, 0, Reg::ecx, 0x00000700, 0x00410004},
    // FSRM SERIALIZE
    {7, 0, Reg::edx, 0x00004010, 0},
    // AVX_VNNI FZLRM FSRS FSRCS
    {7, 1, Reg::eax, 0x00001c10, 0},
    {6, 0, Reg::eax, 0, 0x4}, // ARAT: the APIC timer never stops
    // LAHF LZCNT PREFETCHW SSE4A
    {0x80000001, 0, Reg::ecx, 0x00000161, 0},
    // SYSCALL NX MMXEXT FXSR 1GB RDTSCP LM
    {0x80000001, 0, Reg::edx, 0x2fd3fbfd, 0},
    {0x80000007, 0, Reg::edx, 0, 0x100}, // invariant TSC
};
// clang-format on

// Leaves whose content is the host's, unfiltered: identity, caches, brand string.
constexpr u32 kPassed[] = {0,          2,          4,          0x80000000, 0x80000002,
                           0x80000003, 0x80000004, 0x80000005, 0x80000006, 0x8000001d};

constexpr u32 kMaxBasic = 0x1f;
constexpr u32 kMaxExtended = 0x80000021;
constexpr u32 kLinearBits = 57;

// The host's answer never changes, and where the host is a virtual machine itself each CPUID is an exit of
// its own.
CpuidResult host(u32 leaf, u32 subleaf)
{
    static std::mutex mutex;
    static std::unordered_map<u64, CpuidResult> answers;
    const std::lock_guard lock(mutex);
    const auto [at, fresh] = answers.try_emplace(u64{leaf} << 32 | subleaf);
    CpuidResult& r = at->second;
    if (fresh && static_cast<u32>(__get_cpuid_max(leaf & 0x80000000, nullptr)) >= leaf)
        __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    return r;
}

u32& reg_of(CpuidResult& r, Reg reg)
{
    switch (reg) {
    case Reg::eax:
        return r.eax;
    case Reg::ebx:
        return r.ebx;
    case Reg::ecx:
        return r.ecx;
    case Reg::edx:
        break;
    }
    return r.edx;
}

CpuidResult features(u32 leaf, u32 subleaf)
{
    CpuidResult from_host = host(leaf, subleaf);
    CpuidResult r;
    for (const FeatureRow& row : kFeatures)
        if (row.leaf == leaf && row.subleaf == subleaf)
            reg_of(r, row.reg) = (reg_of(from_host, row.reg) & row.offered) | row.always;
    return r;
}

// Leaf 1 also identifies the processor and its APIC.
CpuidResult leaf_1()
{
    CpuidResult r = features(1, 0);
    const CpuidResult from_host = host(1, 0);
    r.eax = from_host.eax;
    r.ebx = from_host.ebx & 0x0000ff00; // CLFLUSH line size
    return r;
}

// XSAVEOPT, XSAVEC, XGETBV with ECX = 1, XSAVES. All are executed in C++; EBX is the size for the reset XCR0.
CpuidResult leaf_d_1() { return {.eax = 0xf, .ebx = 576}; }

// Leaf 0DH: only the components that guests may use. Offsets and sizes are the host's, for the engine saves
// state with the host's XSAVE.
CpuidResult leaf_d(u32 subleaf)
{
    const u64 xcr0 = supported_xcr0();
    if (subleaf == 1)
        return leaf_d_1();
    if (subleaf >= 2)
        return subleaf < 63 && test(xcr0, subleaf) ? host(0xd, subleaf) : CpuidResult{};
    u32 size = 576; // legacy region and header
    for (u32 i = 2; i < 63; ++i)
        if (test(xcr0, i)) {
            const CpuidResult component = host(0xd, i);
            size = size > component.eax + component.ebx ? size : component.eax + component.ebx;
        }
    return {.eax = static_cast<u32>(xcr0), .ebx = 576, .ecx = size, .edx = static_cast<u32>(xcr0 >> 32)};
}

u64 host_xcr0()
{
    if (!(host(1, 0).ecx & bit_OSXSAVE))
        return 3;
    u32 low = 0;
    u32 high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return u64{high} << 32 | low;
}

} // namespace

u64 supported_xcr0()
{
    constexpr u64 kEngine = 0x7; // x87, SSE, AVX
    static const u64 value = host_xcr0() & kEngine;
    return value;
}

u64 supported_xss() { return 0; }

CpuidResult native_cpuid(u32 leaf, u32 subleaf)
{
    for (const u32 passed : kPassed)
        if (leaf == passed) {
            CpuidResult r = host(leaf, subleaf);
            if (leaf == 0)
                r.eax = kMaxBasic;
            if (leaf == 0x80000000)
                r.eax = r.eax < kMaxExtended ? r.eax : kMaxExtended;
            return r;
        }
    switch (leaf) {
    case 1:
        return leaf_1();
    case 0xd:
        return leaf_d(subleaf);
    case 0x80000008:
        return {.eax = 52 | kLinearBits << 8};
    default: {
        CpuidResult r = features(leaf, subleaf);
        if (leaf == 7 && subleaf == 0)
            r.eax = 1;
        if (leaf == 0x80000001)
            r.eax = host(leaf, 0).eax;
        return r;
    }
    }
}

} // namespace seamless::cpu
