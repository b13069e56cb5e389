// SPDX-License-Identifier: Apache-2.0
// What the TDX module makes of a TD's MSRs and CPUID: a row or two of each class of its tables, before and
// after TD_CTLS.REDUCE_VE. TDX ABI: "MSR Virtualization", "CPUID Virtualization".
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/x86.h"
#include "guest/tests/probe.h"

namespace seamless::guest {
namespace {

using spec::ExitReason;

constexpr u64 kXfam = 0x1110000300000001, kAmx = u64{3} << 17;

constexpr ProbeCode kRdmsr{{0x0f, 0x32}, 2}, kWrmsr{{0x0f, 0x30}, 2}, kCpuid{{0x0f, 0xa2}, 2};

Probe read_msr(u32 msr) { return probe(kRdmsr, {.rcx = msr}); }
Probe write_msr(u32 msr, u64 value)
{
    return probe(kWrmsr, {.rax = truncate(value, 4), .rcx = msr, .rdx = value >> 32});
}
u64 value_of(const Probe& p) { return p.registers.rdx << 32 | p.registers.rax; }

void check_read(u32 msr, Ends how) { check_end(read_msr(msr), how, ExitReason::MSR_READ, 0, 2, "RDMSR"); }
void check_write(u32 msr, u64 value, Ends how)
{
    check_end(write_msr(msr, value), how, ExitReason::MSR_WRITE, 0, 2, "WRMSR");
}

struct MsrRow {
    u32 msr;
    Ends read, write;
    u64 written = 0;
};

void msrs(const char* when, const MsrRow* first, const MsrRow* end)
{
    for (const MsrRow* row = first; row != end; ++row) {
        print(when, "MSR ", Hex{row->msr}, ": ");
        check_read(row->msr, row->read);
        print(when, "MSR ", Hex{row->msr}, ": ");
        check_write(row->msr, row->written, row->write);
    }
}

constexpr Ends kOk = Ends::completes, kVe = Ends::ve, kGp = Ends::gp;

// clang-format off
constexpr MsrRow kAlways[] = { // the same with and without REDUCE_VE
    {0x10, kOk, kVe},                     // TSC
    {0x1b, kVe, kVe},                     // APIC_BASE
    {0x49, kGp, kOk},                     // PRED_CMD: the processor has nothing to read there
    {0x8c, kGp, kGp}, {0x98, kGp, kGp}, {0x9e, kGp, kGp},
    {0xbc, kGp, kVe},                     // MISC_PACKAGE_CTLS: not on this processor
    {0xbd, kOk, kGp},                     // XAPIC_DISABLE_STATUS
    {0x10a, kOk, kGp},                    // ARCH_CAPABILITIES
    {0x195, kGp, kGp}, {0x276, kGp, kGp}, {0x480, kGp, kGp}, {0x500, kGp, kGp},
    {0x345, kOk, kGp},                    // PERF_CAPABILITIES
    {0x501, kVe, kVe},
    {0x800, kGp, kGp}, {0x804, kGp, kGp}, {0x829, kGp, kGp}, {0x831, kGp, kGp}, {0x840, kGp, kGp}, {0x8ff, kGp, kGp},
    {0x802, kVe, kGp},                    // the x2APIC id, without ENUM_TOPOLOGY
    {0x803, kVe, kVe}, {0x80d, kVe, kVe}, {0x830, kVe, kVe}, {0x838, kVe, kVe},
    {0x80a, kOk, kGp}, {0x810, kOk, kGp}, {0x818, kOk, kGp}, {0x827, kOk, kGp}, // PPR, ISR, TMR, IRR
    {0xc80, kOk, kVe},                    // DEBUG_INTERFACE
    {0xd90, kGp, kGp}, {0xd93, kGp, kGp},
    {0x2000, kVe, kVe}, {0x40000000, kVe, kVe}, {0x4b564d00, kVe, kVe}, {0xc0002000, kVe, kVe},
    {0xc0000083, kVe, kVe},               // CSTAR
};
constexpr MsrRow kNotReduced[] = {
    {0x17, kVe, kVe}, {0x34, kVe, kVe}, {0x3a, kVe, kVe}, {0x3b, kVe, kVe}, {0x4e, kVe, kVe}, {0x8b, kVe, kVe}, {0xce, kVe, kVe},
    {0xfe, kVe, kGp}, {0x179, kVe, kGp}, {0xcf, kVe, kGp}, // features that are always there
    {0x200, kVe, kVe}, {0x2ff, kVe, kVe}, {0x17a, kVe, kVe}, {0x401, kVe, kVe},
    {0x140, kVe, kVe},
    {0x1a0, kOk, kVe},                    // MISC_ENABLE
    {0x1fff, kVe, kVe}, {0xc0001fff, kVe, kVe}, // in the bitmaps' ranges, in no row
};
constexpr MsrRow kReduced[] = {
    {0x17, kVe, kGp}, {0x3b, kGp, kGp}, {0xe7, kGp, kGp}, {0x1b0, kGp, kGp},
    {0x34, kOk, kOk, 5},                  // SMI_COUNT
    {0x3a, kOk, kGp}, {0x4e, kOk, kGp}, {0xce, kOk, kGp},
    {0x79, kGp, kOk}, {0x8b, kOk, kOk},
    {0x140, kOk, kOk}, {0x140, kOk, kGp, 1},
    {0x1a0, kOk, kGp, bit(63)}, {0x1a0, kOk, kOk, 1},
    {0x1fff, kGp, kGp}, {0xc0001fff, kGp, kGp},
};
// clang-format on

// Handled by the processor: what is written is read.
void native_msrs()
{
    struct Row {
        u32 msr;
        u64 value;
    };
    static constexpr Row kRows[] = {{0x174, 8},
                                    {0x175, 0xffff8000'00001000},
                                    {0x277, 0x0007040600070406},
                                    {0x808, 0x20},
                                    {0xc0000081, 0x0018000800000000},
                                    {0xc0000084, 0x200},
                                    {0xc0000100, 0x1234567},
                                    {0xc0000103, 77}};
    check_equal(value_of(read_msr(0x277)), 0x0007040600070406, "PAT begins as the ABI says");
    check_equal(value_of(read_msr(0xc0000084)), 0x20200, "FMASK begins as the ABI says");
    for (const Row& row : kRows) {
        const u64 before = value_of(read_msr(row.msr));
        print("native MSR ", Hex{row.msr}, ": ");
        check_write(row.msr, row.value, kOk);
        check_equal(value_of(read_msr(row.msr)), row.value, "  reads back");
        check_write(row.msr, before, kOk);
    }
    check_write(0x808, 0x100, kGp); // TPR has 8 bits
    check_write(0x277, 2, kGp);     // no such memory type
}

// The module has values for these, or looks at what is written.
void checked_msrs()
{
    check_equal(value_of(read_msr(0xbd)), 1, "XAPIC_DISABLE_STATUS: there is only the x2APIC");
    check_equal(value_of(read_msr(0x345)), 0, "PERF_CAPABILITIES without PERFMON");
    check_equal(field(value_of(read_msr(0x1a0)), 12, 11), 3, "MISC_ENABLE: neither BTS nor PEBS");
    const u64 efer = value_of(read_msr(0xc0000080));
    check_equal(efer, 0xd01, "EFER: SCE, LME, LMA and NXE");
    check_write(0xc0000080, efer & ~u64{1}, kOk);
    check_equal(value_of(read_msr(0xc0000080)), efer & ~u64{1}, "  SCE is the guest's");
    check_write(0xc0000080, efer & ~bit(10), kOk);
    check_equal(value_of(read_msr(0xc0000080)), efer, "  LMA is nobody's");
    check_write(0xc0000080, efer & ~bit(11), kVe);
    check_write(0xc0000080, efer & ~bit(8), kVe);
    check_write(0xc0000080, efer | bit(14), kVe);
    check_equal(value_of(read_msr(0xc0000080)), efer, "  EFER is as before");

    print("DEBUGCTL\n");
    check_write(0x1d9, 1, kOk);
    check_equal(value_of(read_msr(0x1d9)), 1, "  reads back");
    check_write(0x1d9, bit(6), kVe);
    check_write(0x1d9, bit(2), kGp);
    check_write(0x1d9, bit(14), kGp);
    check_write(0x1d9, bit(15), kGp);
    check_write(0x1d9, 0, kOk);
    print("XSS\n");
    check_write(0xda0, 0, kOk);
    check_write(0xda0, 1, kGp);
    check_write(0xda0, bit(63), kGp);
}

// MSRs of features that a TD may or may not have.
void features(u64 attributes)
{
    const CpuidLeaf leaf1 = cpuid(1), leaf7 = cpuid(7);
    struct Row {
        u32 msr;
        bool present;
        Ends if_present;
    };
    TdcallRegisters xfam{.rdx = kXfam};
    check_equal(tdcall(TdgLeaf::VM_RD, xfam), kSuccess, "VM.RD of XFAM");
    // clang-format off
    const Row rows[] = {
        {0x1c4, (xfam.r8 & kAmx) == kAmx, kOk}, {0x6a0, test(xfam.r8, 11), kOk},
        {0x985, test(xfam.r8, 14), kOk}, {0x14ce, test(xfam.r8, 15), kOk},
        {0x198, test(leaf1.ecx, 7), kVe}, {0x19d, test(leaf1.ecx, 8), kVe},
        {0x1f8, test(leaf1.ecx, 18), kVe}, {0x6e0, test(leaf1.ecx, 24), kVe},
        {0x19a, test(leaf1.edx, 22), kVe}, {0x981, test(leaf7.ecx, 13), kVe},
        {0x87, test(leaf7.edx, 18), kVe}, {0xc81, test(leaf7.ebx, 15), kVe},
        {0xc8d, test(leaf7.ebx, 12), kVe}, {0xe1, test(leaf7.ecx, 5), kOk},
        {0xc1, test(attributes, 63), kOk}, {0x186, test(attributes, 63), kOk},
        {0x6e1, test(attributes, 30), kOk},
    };
    // clang-format on
    for (const Row& row : rows) {
        print("MSR ", Hex{row.msr}, row.present ? " of a feature: " : " of an absent feature: ");
        check_read(row.msr, row.present ? row.if_present : kGp);
    }
}

struct CpuidRow {
    const char* name;
    u32 leaf, subleaf;
    Ends how;
    CpuidLeaf mask, value;
};
constexpr u32 kAll = ~0u;
constexpr CpuidLeaf kExact{kAll, kAll, kAll, kAll};

// clang-format off
constexpr CpuidRow kLeaves[] = {
    {"leaf 0: the module's",         0, 0, kOk, kExact, {0x23, 0x756e6547, 0x6c65746e, 0x49656e69}},
    {"leaf 1: fixed bits",           1, 0, kOk, {0, 0xffff, 0x80000060, 0x47000220}, {0, 0x0800, 0x80000000, 0x07000220}},
    {"leaf 3: nothing",              3, 0, kOk, kExact, {}},
    {"leaf 7: the number of subleaves", 7, 0, kOk, {kAll, 0x4006, 0, 0}, {2, 0, 0, 0}},
    {"leaf 0xd.1: XSAVE's features", 0xd, 1, kOk, {0xf, 0, 0, kAll}, {0xf, 0, 0, 0}},
    {"leaf 0x12: no SGX",            0x12, 0, kOk, kExact, {}},
    {"leaf 0x15: the unit of the TSC", 0x15, 0, kOk, {kAll, 0, kAll, kAll}, {1, 0, 25000000, 0}},
    {"leaf 0x20: nothing",           0x20, 0, kOk, kExact, {}},
    {"leaf 0x21: IntelTDX",          0x21, 0, kOk, kExact, {0, 0x65746e49, 0x20202020, 0x5844546c}},
    {"leaf 0x80000000",              0x80000000, 0, kOk, kExact, {0x80000008, 0, 0, 0}},
    {"leaf 0x80000001, in 64-bit mode", 0x80000001, 0, kOk, kExact, {0, 0, 0x121, 0x2c100800}},
    {"leaf 0x80000007",              0x80000007, 0, kOk, kExact, {0, 0, 0, 0x100}},
    {"leaf 0x80000008: 52 physical bits", 0x80000008, 0, kOk, {0xff, 0, kAll, kAll}, {52, 0, 0, 0}},
    {"leaf 0x24, above the highest", 0x24, 0, kOk, kExact, {}},
    {"leaf 0x80000009, above the highest", 0x80000009, 0, kOk, kExact, {}},
    {"leaf 0x50000000, above the highest", 0x50000000, 0, kOk, kExact, {}},
    {"leaf 0x40000000: the hypervisor's", 0x40000000, 0, kVe, {}, {}},
    {"leaf 0x4fffffff: the hypervisor's", 0x4fffffff, 0, kVe, {}, {}},
};
constexpr CpuidRow kVeLeaves[] = { // #VE, and with REDUCE_VE these values
    {"leaf 2",          2, 0, kOk, kExact, {0x00feff01, 0, 0, 0}},
    {"leaf 6: ARAT",    6, 0, kOk, kExact, {4, 0, 0, 0}},
    {"leaf 9",          9, 0, kOk, kExact, {}},
    {"leaf 0xb.1",      0xb, 1, kOk, {0, 0, 0xff, kAll}, {0, 0, 1, 0}},
    {"leaf 0xf",        0xf, 0, kOk, kExact, {}},
    {"leaf 0x16",       0x16, 0, kOk, kExact, {}},
    {"leaf 0x1f.2",     0x1f, 2, kOk, {0, 0, 0xff, kAll}, {0, 0, 2, 0}},
    {"leaf 0x80000002: Intel TDX", 0x80000002, 0, kOk, {kAll, kAll, kAll, 0}, {0x65746e49, 0x4454206c, 0x20202058, 0}},
    {"leaf 0x80000005", 0x80000005, 0, kOk, kExact, {}},
};
// clang-format on

void check_leaf(const CpuidRow& row, Ends how)
{
    const Probe p = probe(kCpuid, {.rax = row.leaf, .rcx = row.subleaf});
    print("CPUID ");
    check_end(p, how, ExitReason::CPUID, 0, 2, row.name);
    if (how != kOk)
        return;
    const ProbeRegisters& r = p.registers;
    check_equal(r.rax & row.mask.eax, row.value.eax, "  EAX");
    check_equal(r.rbx & row.mask.ebx, row.value.ebx, "  EBX");
    check_equal(r.rcx & row.mask.ecx, row.value.ecx, "  ECX");
    check_equal(r.rdx & row.mask.edx, row.value.edx, "  EDX");
}

void cpuid_leaves()
{
    for (const CpuidRow& row : kLeaves)
        check_leaf(row, row.how);
    for (const CpuidRow& row : kVeLeaves)
        check_leaf(row, kVe);
    // Size and components follow XFAM.
    TdcallRegisters xfam{.rdx = kXfam};
    check_equal(tdcall(TdgLeaf::VM_RD, xfam), kSuccess, "VM.RD of XFAM");
    check_equal(cpuid(0xd).eax, xfam.r8 & 0x602e7, "CPUID leaf 0xd has XFAM's components");
    check_equal(cpuid(0xd).ebx, 576, "  with the size for XCR0");
}

// TD_CTLS.REDUCE_VE, for good: the guest asked for fewer #VE.
void reduce_ve()
{
    constexpr u64 kTdCtls = 0x9110000300000017, kReduceVe = bit(3);
    TdcallRegisters write{.rdx = kTdCtls, .r8 = kReduceVe, .r9 = kReduceVe};
    check_equal(tdcall(TdgLeaf::VM_WR, write), kSuccess, "VM.WR of TD_CTLS.REDUCE_VE");
    TdcallRegisters read{.rdx = kTdCtls};
    check_equal(tdcall(TdgLeaf::VM_RD, read), kSuccess, "VM.RD of TD_CTLS");
    check(read.r8 & kReduceVe, "  has it");
    msrs("reduced, ", kReduced, kReduced + sizeof(kReduced) / sizeof(kReduced[0]));
    msrs("reduced, ", kAlways, kAlways + sizeof(kAlways) / sizeof(kAlways[0]));
    check_equal(value_of(read_msr(0x34)), 5, "SMI_COUNT keeps what was written");
    check_equal(value_of(read_msr(0x8b)), 0xffffffff, "BIOS_SIGN_ID");
    check_equal(value_of(read_msr(0x3a)), 1, "FEATURE_CONTROL is locked");
    for (const CpuidRow& row : kVeLeaves)
        check_leaf(row, row.how);

    constexpr ProbeCode kReadCr4{{0x0f, 0x20, 0xe0}, 3}, kWriteCr4{{0x0f, 0x22, 0xe0}, 3};
    const u64 cr4 = probe(kReadCr4).registers.rax;
    check_end(probe(kWriteCr4, {.rax = cr4 & ~bit(6)}), kOk, {}, 0, 3, "CR4.MCE may be cleared");
    check_equal(probe(kReadCr4).registers.rax, cr4 & ~bit(6), "  and reads as 0");
}

} // namespace

bool guest_main(const Machine& machine)
{
    if (!machine.td) {
        check(false, "a TD");
        return false;
    }
    handle_probes();
    native_msrs();
    checked_msrs();
    msrs("", kAlways, kAlways + sizeof(kAlways) / sizeof(kAlways[0]));
    msrs("", kNotReduced, kNotReduced + sizeof(kNotReduced) / sizeof(kNotReduced[0]));
    features(td_info().attributes);
    cpuid_leaves();
    reduce_ve();
    return failures() == 0;
}

} // namespace seamless::guest
