// SPDX-License-Identifier: Apache-2.0
// Each TDCALL leaf a guest uses: that it works, each way it refuses, and that only its outputs change.
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/tdx.h"
#include "guest/firmware/ve.h"
#include "guest/firmware/x86.h"

namespace seamless::guest {
namespace {

enum Operand : u64 { RAX = 0, RCX = 1, RDX = 2, R8 = 8 };
enum Output : unsigned { kNone = 0, kRcx = 1, kRdx = 2, kR8 = 4, kR9 = 8, kR10 = 16, kR11 = 32 };

constexpr u64 kInvalidMacStruct = 0xc0001001'00000000;
constexpr u64 kNotReadable = 0xc0000c02'00000000;
constexpr u64 kNotWritable = 0xc0000c01'00000000;
constexpr u64 kVerifyReport = 22;
constexpr u64 kVersion1 = u64{1} << 16;

alignas(1024) TdReport report;
alignas(64) u8 data[64];

u64 address_of(const void* object) { return reinterpret_cast<u64>(object); }
u64 number(TdgLeaf leaf) { return static_cast<u64>(leaf); }

// Calls with `registers` as inputs, and checks the status and that nothing but `outputs` has changed.
TdcallRegisters call(const char* name, u64 leaf, TdcallRegisters registers, u64 expected,
                     unsigned outputs = kNone)
{
    registers.rsi = 0x51;
    registers.rdi = 0xd1;
    registers.rbx = 0xb1;
    registers.r12 = 0x12;
    registers.r13 = 0x13;
    registers.r14 = 0x14;
    registers.r15 = 0x15;
    TdcallRegisters after = registers;
    const u64 status = tdcall(leaf, after);
    check_equal(status, expected, name);
    const bool kept =
        after.rbx == registers.rbx && after.rsi == registers.rsi && after.rdi == registers.rdi &&
        after.r12 == registers.r12 && after.r13 == registers.r13 && after.r14 == registers.r14 &&
        after.r15 == registers.r15 && ((outputs & kRcx) || after.rcx == registers.rcx) &&
        ((outputs & kRdx) || after.rdx == registers.rdx) && ((outputs & kR8) || after.r8 == registers.r8) &&
        ((outputs & kR9) || after.r9 == registers.r9) && ((outputs & kR10) || after.r10 == registers.r10) &&
        ((outputs & kR11) || after.r11 == registers.r11);
    if (!kept)
        check(false, "  changes only its outputs");
    return after;
}

void dispatch_and_info(const Machine& machine)
{
    call("an unknown leaf", 0x1234, {}, kOperandInvalid + RAX);
    call("VP.INFO with version 1", number(TdgLeaf::VP_INFO) | kVersion1, {}, kOperandInvalid + RAX);
    call("VEINFO.GET with version 2", number(TdgLeaf::VP_VEINFO_GET) | kVersion1 << 1, {},
         kOperandInvalid + RAX);
    call("RAX bit 24 set", number(TdgLeaf::VP_INFO) | bit(24), {}, kOperandInvalid + RAX);
    call("RAX bit 63 set", number(TdgLeaf::VP_INFO) | bit(63), {}, kOperandInvalid + RAX);
    const TdcallRegisters info =
        call("VP.INFO", number(TdgLeaf::VP_INFO), {}, kSuccess, kRcx | kRdx | kR8 | kR9 | kR10 | kR11);
    check_equal(field(info.rcx, 5, 0), machine.gpaw, "VP.INFO has the GPAW that RBX had at reset");
    check(field(info.r8, 31, 0) >= 1 && field(info.r8, 31, 0) <= field(info.r8, 63, 32),
          "VP.INFO counts vCPUs");
    check_equal(info.r9, 0, "VP.INFO: this is vCPU 0");
    const TdcallRegisters ve = call("VEINFO.GET with nothing pending", number(TdgLeaf::VP_VEINFO_GET),
                                    {.rdx = 1, .r8 = 2}, kNoValidVeInfo, kRcx | kRdx | kR8 | kR9 | kR10);
    check(ve.rcx == 0 && ve.rdx == 0 && ve.r8 == 0 && ve.r9 == 0 && ve.r10 == 0, "  its outputs are zero");
}

void vmcall_masks()
{
    static constexpr unsigned kForbidden[] = {0, 1, 4, 32, 63};
    for (const unsigned forbidden : kForbidden) {
        print("mask bit ", Dec{forbidden}, ": ");
        call("VP.VMCALL refuses it", number(TdgLeaf::VP_VMCALL), {.rcx = bit(forbidden)},
             kOperandInvalid + RCX);
    }
}

void measurement(const Machine& machine)
{
    const u64 extend = number(TdgLeaf::MR_RTMR_EXTEND);
    const u64 make = number(TdgLeaf::MR_REPORT);
    const u64 value = address_of(data);
    call("RTMR.EXTEND, misaligned", extend, {.rcx = value + 1, .rdx = 2}, kOperandInvalid + RCX);
    call("RTMR.EXTEND, shared GPA", extend, {.rcx = value | machine.shared_bit, .rdx = 2},
         kOperandInvalid + RCX);
    call("RTMR.EXTEND, index 4", extend, {.rcx = value, .rdx = 4}, kOperandInvalid + RDX);
    call("RTMR.EXTEND", extend, {.rcx = value, .rdx = 2}, kSuccess);
    call("MR.REPORT, misaligned report", make, {.rcx = address_of(&report) + 512, .rdx = value},
         kOperandInvalid + RCX);
    call("MR.REPORT, misaligned data", make, {.rcx = address_of(&report), .rdx = value + 8},
         kOperandInvalid + RDX);
    call("MR.REPORT, subtype 1", make, {.rcx = address_of(&report), .rdx = value, .r8 = 1},
         kOperandInvalid + R8);
    data[0] = 0x5e;
    data[63] = 0xa1;
    call("MR.REPORT", make, {.rcx = address_of(&report), .rdx = value}, kSuccess);
    check_equal(report.mac_structure[0], 0x81, "  its type is TDX");
    check(report.mac_structure[128] == 0x5e && report.mac_structure[191] == 0xa1,
          "  it holds the caller's data");

    TdcallRegisters verify{.rcx = address_of(&report)};
    const u64 status = tdcall(kVerifyReport, verify);
    if (status == kOperandInvalid + RAX) {
        print("VERIFYREPORT is not offered\n");
        return;
    }
    check_equal(status, kSuccess, "VERIFYREPORT");
    report.mac_structure[128] ^= 1;
    call("VERIFYREPORT of a changed report", kVerifyReport, {.rcx = address_of(&report)}, kInvalidMacStruct);
}

void accept_refusals(const Machine& machine)
{
    const u64 leaf = number(TdgLeaf::MEM_PAGE_ACCEPT);
    const u64 page = align_down(address_of(data), u64{4096});
    call("ACCEPT of 1 GiB", leaf, {.rcx = (u64{1} << 30) | 2}, kOperandInvalid + RCX);
    call("ACCEPT with level 7", leaf, {.rcx = page | 7}, kOperandInvalid + RCX);
    call("ACCEPT with reserved bit 3", leaf, {.rcx = page | 8}, kOperandInvalid + RCX);
    call("ACCEPT of 2 MiB, misaligned", leaf, {.rcx = page | 1}, kOperandInvalid + RCX);
    call("ACCEPT of a shared GPA", leaf, {.rcx = page | machine.shared_bit}, kOperandInvalid + RCX);
    call("ACCEPT above the GPA width", leaf, {.rcx = page | machine.shared_bit << 1}, kOperandInvalid + RCX);
    call("ACCEPT of a page in use", leaf, {.rcx = page}, kPageAlreadyAccepted);
    call("ACCEPT of 2 MiB over pages of 4 KiB", leaf, {.rcx = align_down(page, u64{2} << 20) | 1},
         kPageSizeMismatch + 1);
}

void metadata(const Machine& machine)
{
    constexpr u64 kAttributes = 0x1110000300000000;
    constexpr u64 kGpaw = 0x1110000000000003;
    constexpr u64 kMrtd = 0x1310000300000000;
    constexpr u64 kVendor = 0x0800000200000000;
    constexpr u64 kMajorVersion = 0x0800000100000004;
    const u64 vm_rd = number(TdgLeaf::VM_RD);
    call("VM.RD with RCX 1", vm_rd, {.rcx = 1, .rdx = kAttributes}, kOperandInvalid + RCX, kR8);
    const TdcallRegisters unknown = call("VM.RD of an unknown field", vm_rd,
                                         {.rdx = 0x1110000300000fff, .r8 = 1}, kFieldIdIncorrect, kR8);
    check_equal(unknown.r8, 0, "  its value is zero");
    check_equal(call("VM.RD of ATTRIBUTES", vm_rd, {.rdx = kAttributes}, kSuccess, kR8).r8,
                td_info().attributes, "  the same as in VP.INFO");
    const u64 gpaw = call("VM.RD of GPAW", vm_rd, {.rdx = kGpaw}, kSuccess, kR8).r8;
    check_equal(gpaw, machine.gpaw == 52 ? 1 : 0, "  fits the address width");
    const u64 mrtd = call("VM.RD of MRTD", vm_rd, {.rdx = kMrtd}, kSuccess, kR8).r8;
    u64 reported = 0;
    for (unsigned i = 0; i < sizeof(u64); ++i)
        reported |= u64{report.mrtd[i]} << (8 * i);
    check_equal(mrtd, reported, "  the same as in the report");
    call("VM.WR of ATTRIBUTES", number(TdgLeaf::VM_WR), {.rdx = kAttributes, .r8 = 1, .r9 = ~u64{0}},
         kNotWritable, kR8);
    check_equal(
        call("SYS.RD of the vendor", number(TdgLeaf::SYS_RD), {.rdx = kVendor}, kSuccess, kRdx | kR8).r8,
        0x8086, "  is Intel");
    check_equal(
        call("SYS.RD of the version", number(TdgLeaf::SYS_RD), {.rdx = kMajorVersion}, kSuccess, kRdx | kR8)
            .r8,
        1, "  is 1");
}

void vcpu_metadata()
{
    constexpr u64 kState = 0xa020000000000000;
    constexpr u64 kIndex = 0xa020000200000002;
    constexpr u64 kUserVe = 0xa020000000000008;
    const u64 rd = number(TdgLeaf::VP_RD), wr = number(TdgLeaf::VP_WR);
    check_equal(call("VP.RD of VCPU_INDEX", rd, {.rdx = kIndex, .r8 = 9}, kSuccess, kR8).r8, 0,
                "  this is vCPU 0");
    check_equal(call("VP.RD of VCPU_STATE", rd, {.rdx = kState, .r8 = 9}, kNotReadable, kR8).r8, 0,
                "  its value is zero");
    call("VP.RD of an unknown field", rd, {.rdx = kState + 0xfff}, kFieldIdIncorrect, kR8);
    call("VP.RD with version 1", rd | kVersion1, {.rdx = kIndex}, kOperandInvalid + RAX);
    call("VP.WR of VCPU_INDEX", wr, {.rdx = kIndex, .r8 = 1, .r9 = ~u64{0}}, kNotWritable, kR8);
    call("VP.WR with no bit to write", wr, {.rdx = kUserVe, .r8 = 1, .r9 = 2}, kNotWritable, kR8);
    check_equal(
        call("VP.WR of CPUID_USER_VE", wr, {.rdx = kUserVe, .r8 = 1, .r9 = ~u64{0}}, kSuccess, kR8).r8, 0,
        "  it was off");
    check_equal(call("VP.RD of CPUID_USER_VE", rd, {.rdx = kUserVe}, kSuccess, kR8).r8, 1, "  it is on");
    check_equal(call("VP.WR back", wr, {.rdx = kUserVe, .r9 = 1}, kSuccess, kR8).r8, 1, "  it was on");
    check_equal(call("VP.RD again", rd, {.rdx = kUserVe, .r8 = 9}, kSuccess, kR8).r8, 0, "  it is off");
}

void cpuid_ve()
{
    const u64 leaf = number(TdgLeaf::VP_CPUIDVE_SET);
    call("CPUIDVE.SET with a reserved bit", leaf, {.rcx = 4}, kOperandInvalid + RCX);
    const u64 before = ve_count();
    (void)cpuid(0);
    check_equal(ve_count() - before, 0, "CPUID leaf 0 raises no #VE");
    TdcallRegisters on{.rcx = 1};
    TdcallRegisters off{.rcx = 0};
    const u64 count = ve_count(); // no output between here and the end: that would raise #VE as well
    const u64 on_status = tdcall(leaf, on);
    (void)cpuid(0);
    const u64 taken = ve_count() - count;
    const u64 off_status = tdcall(leaf, off);
    check_equal(on_status, kSuccess, "CPUIDVE.SET for the supervisor");
    check_equal(taken, 1, "  then CPUID leaf 0 raises #VE");
    check_equal(off_status, kSuccess, "CPUIDVE.SET to off");
}

} // namespace

bool guest_main(const Machine& machine)
{
    if (!machine.td) {
        check(false, "a TD");
        return false;
    }
    dispatch_and_info(machine);
    vmcall_masks();
    measurement(machine);
    accept_refusals(machine);
    metadata(machine);
    vcpu_metadata();
    cpuid_ve();
    return failures() == 0;
}

} // namespace seamless::guest
