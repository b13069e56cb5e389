// SPDX-License-Identifier: Apache-2.0
// What the TDX module makes of a TD's instructions and control registers: they complete, or end in #UD, #GP
// or #VE with what VE_INFO must say. TDX ABI: "CPU Virtualization". MSRs and CPUID: virtualized_values.cpp.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/x86.h"
#include "guest/tests/probe.h"

namespace seamless::guest {
namespace {

using spec::ExitReason;

struct InstructionRow {
    const char* name;
    ProbeCode code;
    Ends how;
    ExitReason reason = ExitReason::EXCEPTION_NMI; // of Ends::ve
    u64 qualification = 0;
};

constexpr u64 kPort = 0x70, kIn = bit(3), kString = bit(4), kRep = bit(5), kImmediate = bit(6);
constexpr u64 port(unsigned size, u64 flags) { return (size - 1) | flags | kPort << 16; }

// clang-format off
constexpr InstructionRow kInstructions[] = { // RAX is 200000H, RCX 0, RDX the port
    {"HLT",      {{0xf4}, 1},             Ends::ve, ExitReason::HLT},
    {"INVD",     {{0x0f, 0x08}, 2},       Ends::ve, ExitReason::INVD},
    {"WBINVD",   {{0x0f, 0x09}, 2},       Ends::ve, ExitReason::WBINVD},
    {"WBNOINVD", {{0xf3, 0x0f, 0x09}, 3}, Ends::ve, ExitReason::WBINVD},
    {"VMCALL",   {{0x0f, 0x01, 0xc1}, 3}, Ends::ve, ExitReason::VMCALL},
    {"IN AL, imm",     {{0xe4, kPort}, 2},    Ends::ve, ExitReason::IO_INSTRUCTION, port(1, kIn | kImmediate)},
    {"IN AX, DX",      {{0x66, 0xed}, 2},     Ends::ve, ExitReason::IO_INSTRUCTION, port(2, kIn)},
    {"OUT DX, EAX",    {{0xef}, 1},           Ends::ve, ExitReason::IO_INSTRUCTION, port(4, 0)},
    {"OUT imm, AL",    {{0xe6, kPort}, 2},    Ends::ve, ExitReason::IO_INSTRUCTION, port(1, kImmediate)},
    {"INS byte",       {{0x6c}, 1},           Ends::ve, ExitReason::IO_INSTRUCTION, port(1, kIn | kString)},
    {"OUTS word",      {{0x66, 0x6f}, 2},     Ends::ve, ExitReason::IO_INSTRUCTION, port(2, kString)},
    {"REP OUTS dword", {{0xf3, 0x6f}, 2},     Ends::ve, ExitReason::IO_INSTRUCTION, port(4, kString | kRep)},
    {"RDPMC",    {{0x0f, 0x33}, 2},                   Ends::gp},
    {"RSM",      {{0x0f, 0xaa}, 2},                   Ends::ud},
    {"GETSEC",   {{0x0f, 0x37}, 2},                   Ends::ud},
    {"VMXON",    {{0xf3, 0x0f, 0xc7, 0x30}, 4},       Ends::ud},
    {"VMXOFF",   {{0x0f, 0x01, 0xc4}, 3},             Ends::ud},
    {"VMCLEAR",  {{0x66, 0x0f, 0xc7, 0x30}, 4},       Ends::ud},
    {"VMPTRLD",  {{0x0f, 0xc7, 0x30}, 3},             Ends::ud},
    {"VMPTRST",  {{0x0f, 0xc7, 0x38}, 3},             Ends::ud},
    {"VMREAD",   {{0x0f, 0x78, 0xc1}, 3},             Ends::ud},
    {"VMWRITE",  {{0x0f, 0x79, 0xc1}, 3},             Ends::ud},
    {"VMLAUNCH", {{0x0f, 0x01, 0xc2}, 3},             Ends::ud},
    {"VMRESUME", {{0x0f, 0x01, 0xc3}, 3},             Ends::ud},
    {"INVEPT",   {{0x66, 0x0f, 0x38, 0x80, 0x08}, 5}, Ends::ud},
    {"INVVPID",  {{0x66, 0x0f, 0x38, 0x81, 0x08}, 5}, Ends::ud},
    {"VMFUNC",   {{0x0f, 0x01, 0xd4}, 3},             Ends::ud},
    {"SEAMCALL", {{0x66, 0x0f, 0x01, 0xcf}, 4},       Ends::ud},
    {"ENCLS",    {{0x0f, 0x01, 0xcf}, 3},             Ends::ud},
    {"ENCLV",    {{0x0f, 0x01, 0xc0}, 3},             Ends::ud},
    {"ENCLU",    {{0x0f, 0x01, 0xd7}, 3},             Ends::ud},
};
// clang-format on

void instructions()
{
    for (const InstructionRow& row : kInstructions) {
        const Probe p = probe(row.code, {.rax = 0x200000, .rdx = kPort});
        check_end(p, row.how, row.reason, row.qualification, row.code.length, row.name);
    }
}

// Instructions whose feature a TD may have: this one's CPUID says.
void features()
{
    constexpr ProbeCode kMonitor{{0x0f, 0x01, 0xc8}, 3}, kMwait{{0x0f, 0x01, 0xc9}, 3};
    constexpr ProbeCode kPconfig{{0x0f, 0x01, 0xc5}, 3}, kTpause{{0x66, 0x0f, 0xae, 0xf1}, 4};
    constexpr ProbeCode kUmonitor{{0xf3, 0x0f, 0xae, 0xf0}, 4}, kUmwait{{0xf2, 0x0f, 0xae, 0xf1}, 4};
    const bool monitor = test(cpuid(1).ecx, 3);
    check(!monitor, "this TD has no MONITOR");
    check(probe(kMonitor).vector == kInvalidOpcode, "  MONITOR");
    check(probe(kMwait).vector == kInvalidOpcode, "  MWAIT");
    const CpuidLeaf leaf7 = cpuid(7);
    const Ends pconfig = test(leaf7.edx, 18) ? Ends::ve : Ends::ud;
    check_end(probe(kPconfig), pconfig, ExitReason::PCONFIG, 0, 3, "PCONFIG as CPUID says");
    const Ends wait = test(leaf7.ecx, 5) ? Ends::completes : Ends::ud;
    // A deadline that has passed.
    check_end(probe(kTpause, {.rcx = 1}), wait, {}, 0, 4, "TPAUSE as CPUID says");
    check_end(probe(kUmonitor, {.rax = 0x200000}), wait, {}, 0, 4, "UMONITOR as CPUID says");
    check_end(probe(kUmwait, {.rcx = 1}), wait, {}, 0, 4, "UMWAIT as CPUID says");
}

constexpr u64 kXfam = 0x1110000300000001;

u64 metadata(u64 field)
{
    TdcallRegisters registers{.rdx = field};
    check_equal(tdcall(TdgLeaf::VM_RD, registers), kSuccess, "VM.RD");
    return registers.r8;
}

constexpr ProbeCode kReadCr0{{0x0f, 0x20, 0xc0}, 3}, kReadCr4{{0x0f, 0x20, 0xe0}, 3};
constexpr ProbeCode kWriteCr0{{0x0f, 0x22, 0xc2}, 3}, kWriteCr4{{0x0f, 0x22, 0xe2}, 3}; // from RDX
constexpr u64 kFromRdx = u64{2} << 8;

struct ControlRow {
    const char* name;
    u64 clear, set;
    Ends how;
};

// A write of the register with these bits changed; one that completes is taken back.
template <std::size_t N>
void control_writes(const ControlRow (&rows)[N], const ProbeCode& read, const ProbeCode& write, u64 number)
{
    const u64 before = probe(read).registers.rax;
    for (const ControlRow& row : rows) {
        const u64 value = (before & ~row.clear) | row.set;
        check_end(probe(write, {.rdx = value}), row.how, ExitReason::CR_ACCESS, number | kFromRdx, 3,
                  row.name);
        const u64 after = probe(read).registers.rax;
        if (row.how != Ends::completes)
            check_equal(after, before, "  changes nothing");
        (void)probe(write, {.rdx = before});
    }
}

void cr0()
{
    constexpr u64 kPe = bit(0), kNe = bit(5), kNw = bit(29), kCd = bit(30), kPg = bit(31);
    static constexpr ControlRow kRows[] = {
        {"CR0: as it is", 0, 0, Ends::completes},
        {"CR0.NE cleared", kNe, 0, Ends::gp},
        {"CR0.PE cleared below PG", kPe, 0, Ends::gp},
        {"CR0.PE and PG cleared", kPe | kPg, 0, Ends::ve},
        {"CR0.PG cleared in 64-bit mode", kPg, 0, Ends::gp},
        {"CR0.NW without CD", 0, kNw, Ends::gp},
        {"CR0.CD", 0, kCd, Ends::ve},
        {"CR0.CD and NW", 0, kCd | kNw, Ends::ve},
        {"CR0, bit 32", 0, bit(32), Ends::ve},
        {"CR0, bits that nobody has", 0, bit(6) | bit(17) | bit(28), Ends::completes},
    };
    control_writes(kRows, kReadCr0, kWriteCr0, 0);
    const u64 before = probe(kReadCr0).registers.rax;
    (void)probe(kWriteCr0, {.rdx = before | bit(6) | bit(28)});
    check_equal(probe(kReadCr0).registers.rax, before, "  and that stay 0");

    constexpr ProbeCode kLmsw{{0x0f, 0x01, 0xf2}, 3}, kClts{{0x0f, 0x06}, 2};
    constexpr u64 kTs = bit(3);
    check_end(probe(kLmsw, {.rdx = kTs | bit(5) | bit(9)}), Ends::completes, {}, 0, 3, "LMSW");
    check_equal(probe(kReadCr0).registers.rax & (kPe | kTs | bit(9)), kPe | kTs, "  sets TS and keeps PE");
    check_end(probe(kClts), Ends::completes, {}, 0, 2, "CLTS");
    (void)probe(kWriteCr0, {.rdx = before});
    check_equal(probe(kReadCr0).registers.rax, before, "CR0 is as before");
}

void cr4()
{
    constexpr u64 kPae = bit(5), kMce = bit(6), kOsxsave = bit(18), kVmxe = bit(13), kSmxe = bit(14);
    static constexpr ControlRow kRows[] = {
        {"CR4: as it is", 0, 0, Ends::completes},
        {"CR4.MCE cleared", kMce, 0, Ends::ve},
        {"CR4.VMXE", 0, kVmxe, Ends::ve},
        {"CR4.SMXE", 0, kSmxe, Ends::ve},
        {"CR4.VMXE with a reserved bit", 0, kVmxe | bit(15), Ends::gp},
        {"CR4.PAE cleared in long mode", kPae, 0, Ends::gp},
        {"CR4, bit 15", 0, bit(15), Ends::gp},
        {"CR4.KL", 0, bit(19), Ends::gp},
        {"CR4.LASS", 0, bit(27), Ends::gp},
        {"CR4, bit 63", 0, bit(63), Ends::gp},
        {"CR4.OSXSAVE", 0, kOsxsave, Ends::completes},
    };
    control_writes(kRows, kReadCr4, kWriteCr4, 4);
    const u64 before = probe(kReadCr4).registers.rax;
    check_equal(before & (kMce | kVmxe), kMce, "CR4 shows MCE, and hides VMXE");
}

// Bits of features that a TD may or may not have.
void cr4_features()
{
    const u64 before = probe(kReadCr4).registers.rax;
    const u64 xfam = metadata(kXfam);
    struct Feature {
        const char* name;
        u64 bit;
        bool present;
    };
    const Feature features[] = {{"CR4.PKE as XFAM says", bit(22), test(xfam, 9)},
                                {"CR4.CET as XFAM says", bit(23), test(xfam, 11) && test(xfam, 12)},
                                {"CR4.UINTR as XFAM says", bit(25), test(xfam, 14)},
                                {"CR4.PKS as ATTRIBUTES say", bit(24), test(td_info().attributes, 30)}};
    for (const Feature& feature : features) {
        const Ends how = feature.present ? Ends::completes : Ends::gp;
        check_end(probe(kWriteCr4, {.rdx = before | feature.bit}), how, {}, 0, 3, feature.name);
        (void)probe(kWriteCr4, {.rdx = before});
    }
    check_equal(probe(kReadCr4).registers.rax, before, "CR4 is as before");
}

struct XcrRow {
    const char* name;
    u64 rcx, value;
    Ends how;
};

void xcr0()
{
    constexpr ProbeCode kXsetbv{{0x0f, 0x01, 0xd1}, 3}, kXgetbv{{0x0f, 0x01, 0xd0}, 3};
    constexpr u64 kUser = 0x602e7; // what XCR0 can hold
    static constexpr XcrRow kRows[] = {
        {"XSETBV of another register", 1, 1, Ends::gp},
        {"XSETBV without x87", 0, 2, Ends::gp},
        {"XSETBV of AVX without SSE", 0, 5, Ends::gp},
        {"XSETBV of a part of AVX-512", 0, 0x67, Ends::gp},
        {"XSETBV of a part of AMX", 0, 0x20003, Ends::gp},
        {"XSETBV of a supervisor's component", 0, 0x803, Ends::gp},
        {"XSETBV, bit 63", 0, bit(63) | 3, Ends::gp},
        {"XSETBV of x87 and SSE", 0, 3, Ends::completes},
    };
    check(probe(kXsetbv, {.rax = 3}).vector == kInvalidOpcode, "XSETBV without CR4.OSXSAVE");
    const u64 cr4 = probe(kReadCr4).registers.rax;
    check(!test(cpuid(1).ecx, 27), "CPUID shows OSXSAVE as 0");
    (void)probe(kWriteCr4, {.rdx = cr4 | bit(18)});
    check(test(cpuid(1).ecx, 27), "  and follows CR4");
    check_equal(probe(kXgetbv).registers.rax, 1, "XCR0 begins as 1");
    for (const XcrRow& row : kRows)
        check_end(probe(kXsetbv, {.rax = truncate(row.value, 4), .rcx = row.rcx, .rdx = row.value >> 32}),
                  row.how, {}, 0, 3, row.name);
    check_equal(probe(kXgetbv).registers.rax, 3, "  XCR0 has it, and nothing of the refused");
    const u64 xfam = metadata(kXfam) & kUser;
    static constexpr u64 kGroups[] = {4, 0xe4, 0x200, 0x60000}; // AVX, AVX-512 with it, PKRU, AMX
    for (const u64 group : kGroups) {
        print("component ", Hex{group}, ": ");
        const Ends how = (xfam & group) == group ? Ends::completes : Ends::gp;
        check_end(probe(kXsetbv, {.rax = 3 | group}), how, {}, 0, 3, "XSETBV as XFAM says");
    }
    (void)probe(kXsetbv, {.rax = 1});
    (void)probe(kWriteCr4, {.rdx = cr4});
}

} // namespace

bool guest_main(const Machine& machine)
{
    if (!machine.td) {
        check(false, "a TD");
        return false;
    }
    handle_probes();
    instructions();
    features();
    cr0();
    cr4();
    cr4_features();
    xcr0();
    return failures() == 0;
}

} // namespace seamless::guest
