// SPDX-License-Identifier: Apache-2.0
// The #VE handler: MMIO, ports, CPUID, MSRs and HLT as TDG.VP.VMCALL. GHCI: "TDG.VP.VMCALL Interface".
#include "guest/firmware/ve.h"

#include "guest/firmware/mmio_decode.h"
#include "guest/firmware/tdx.h"
#include "spec/vmx.h"

namespace seamless::guest {
namespace {

using spec::ExitReason;

enum : u64 { kRead = 0, kWrite = 1 };
u64 taken;

constexpr u64 request(ExitReason reason) { return static_cast<u64>(reason); }

// Merges an answer of `size` bytes into RAX as IN does.
void merge_into_rax(Frame& frame, u64 value, unsigned size)
{
    const MmioInstruction as_load{.access = size, .destination = size};
    take_loaded_value(as_load, frame, value);
}

bool do_mmio(Frame& frame, const VeInfo& info)
{
    MmioInstruction instruction;
    if (!decode_mmio(reinterpret_cast<const u8*>(frame.rip), instruction))
        return false;
    if ((info.gpa & 0xfff) + instruction.access > 0x1000)
        return false; // the second page could be anything
    const u64 value = instruction.write ? stored_value(instruction, frame) : 0;
    const VmcallResult answer = vmcall(request(ExitReason::EPT_VIOLATION), instruction.access,
                                       instruction.write ? kWrite : kRead, info.gpa, value);
    if (answer.status != kSuccess)
        return false;
    if (!instruction.write)
        take_loaded_value(instruction, frame, answer.value);
    frame.rip += instruction.length; // VE_INFO has no length for this kind
    return true;
}

bool do_port(Frame& frame, const VeInfo& info)
{
    const unsigned size = static_cast<unsigned>(field(info.qualification, 2, 0)) + 1;
    const bool in = test(info.qualification, 3);
    const bool string = test(info.qualification, 4);
    const u64 port = field(info.qualification, 31, 16);
    if (string)
        return false;
    const u64 value = in ? 0 : truncate(frame.gpr(0), size);
    const VmcallResult answer =
        vmcall(request(ExitReason::IO_INSTRUCTION), size, in ? kRead : kWrite, port, value);
    if (answer.status != kSuccess)
        return false;
    if (in)
        merge_into_rax(frame, answer.value, size);
    frame.rip += info.instruction_length;
    return true;
}

// Only the hypervisor's own leaves are the host's to answer; the processor's leaves are not, and read as
// zero.
bool do_cpuid(Frame& frame, const VeInfo& info)
{
    u64 leaf[4] = {};
    if (field(frame.gpr(0), 31, 28) == 4) {
        const VmcallResult answer =
            vmcall(request(ExitReason::CPUID), truncate(frame.gpr(0), 4), truncate(frame.gpr(1), 4));
        if (answer.status != kSuccess)
            return false;
        leaf[0] = answer.registers.r12;
        leaf[1] = answer.registers.r13;
        leaf[2] = answer.registers.r14;
        leaf[3] = answer.registers.r15;
    }
    frame.gpr(0) = truncate(leaf[0], 4);
    frame.gpr(3) = truncate(leaf[1], 4);
    frame.gpr(1) = truncate(leaf[2], 4);
    frame.gpr(2) = truncate(leaf[3], 4);
    frame.rip += info.instruction_length;
    return true;
}

bool do_rdmsr(Frame& frame, const VeInfo& info)
{
    const VmcallResult answer = vmcall(request(ExitReason::MSR_READ), truncate(frame.gpr(1), 4));
    if (answer.status != kSuccess)
        return false;
    frame.gpr(0) = truncate(answer.value, 4);
    frame.gpr(2) = answer.value >> 32;
    frame.rip += info.instruction_length;
    return true;
}

bool do_wrmsr(Frame& frame, const VeInfo& info)
{
    const u64 value = (frame.gpr(2) << 32) | truncate(frame.gpr(0), 4);
    if (vmcall(request(ExitReason::MSR_WRITE), truncate(frame.gpr(1), 4), value).status != kSuccess)
        return false;
    frame.rip += info.instruction_length;
    return true;
}

bool do_hlt(Frame& frame, const VeInfo& info)
{
    constexpr unsigned kInterruptFlag = 9;
    if (vmcall(request(ExitReason::HLT), test(frame.rflags, kInterruptFlag) ? 0 : 1).status != kSuccess)
        return false;
    frame.rip += info.instruction_length;
    return true;
}

struct ReasonRow {
    ExitReason reason;
    bool (*handle)(Frame&, const VeInfo&);
};

constexpr ReasonRow kReasons[] = {
    {.reason = ExitReason::CPUID, .handle = do_cpuid},
    {.reason = ExitReason::HLT, .handle = do_hlt},
    {.reason = ExitReason::IO_INSTRUCTION, .handle = do_port},
    {.reason = ExitReason::MSR_READ, .handle = do_rdmsr},
    {.reason = ExitReason::MSR_WRITE, .handle = do_wrmsr},
    {.reason = ExitReason::EPT_VIOLATION, .handle = do_mmio},
};

} // namespace

bool handle_ve(Frame& frame)
{
    VeInfo info;
    if (read_ve_info(info) != kSuccess)
        return false;
    ++taken;
    for (const ReasonRow& row : kReasons) {
        if (static_cast<u32>(row.reason) == info.exit_reason)
            return row.handle(frame, info);
    }
    return false;
}

u64 ve_count() { return taken; }

} // namespace seamless::guest
