// SPDX-License-Identifier: Apache-2.0
// The TDCALL leaves in terms of their registers.
#include "guest/firmware/tdx.h"

extern "C" seamless::u64 tdcall(seamless::u64 leaf, seamless::guest::TdcallRegisters* registers);

namespace seamless::guest {
namespace {

constexpr u64 kExposed = 0xffcc; // RDX, RBX, RSI, RDI, R8 to R15

u64 address_of(const void* object) { return reinterpret_cast<u64>(object); }

} // namespace

u64 tdcall(u64 leaf, TdcallRegisters& registers) { return ::tdcall(leaf, &registers); }

VmcallResult vmcall(u64 request, u64 r12, u64 r13, u64 r14, u64 r15)
{
    TdcallRegisters registers{
        .rcx = kExposed, .r10 = 0, .r11 = request, .r12 = r12, .r13 = r13, .r14 = r14, .r15 = r15};
    // The module refuses only a bad mask, which this is not: the status that matters is the host's.
    (void)tdcall(TdgLeaf::VP_VMCALL, registers);
    return {.status = registers.r10, .value = registers.r11, .registers = registers};
}

u64 read_ve_info(VeInfo& info)
{
    TdcallRegisters registers;
    const u64 status = tdcall(TdgLeaf::VP_VEINFO_GET, registers);
    info = {.exit_reason = static_cast<u32>(registers.rcx),
            .qualification = registers.rdx,
            .gla = registers.r8,
            .gpa = registers.r9,
            .instruction_length = static_cast<u32>(registers.r10)};
    return status;
}

TdInfo td_info()
{
    TdcallRegisters registers;
    (void)tdcall(TdgLeaf::VP_INFO, registers); // never fails
    return {.gpaw = static_cast<unsigned>(field(registers.rcx, 5, 0)),
            .attributes = registers.rdx,
            .vcpus = static_cast<unsigned>(field(registers.r8, 31, 0)),
            .max_vcpus = static_cast<unsigned>(field(registers.r8, 63, 32)),
            .vcpu_index = static_cast<unsigned>(registers.r9)};
}

u64 make_report(TdReport& report, const u8* data)
{
    TdcallRegisters registers{.rcx = address_of(&report), .rdx = address_of(data)};
    return tdcall(TdgLeaf::MR_REPORT, registers);
}

u64 extend_rtmr(unsigned index, const u8* value)
{
    TdcallRegisters registers{.rcx = address_of(value), .rdx = index};
    return tdcall(TdgLeaf::MR_RTMR_EXTEND, registers);
}

u64 accept_page(u64 gpa, unsigned level)
{
    TdcallRegisters registers{.rcx = gpa | level};
    return tdcall(TdgLeaf::MEM_PAGE_ACCEPT, registers);
}

} // namespace seamless::guest
