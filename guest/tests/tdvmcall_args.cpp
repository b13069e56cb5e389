// SPDX-License-Identifier: Apache-2.0
// TDG.VP.VMCALL<#VE.RequestMMIO> with arguments that the host must refuse, leaving registers and device
// alone.
#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/tdx.h"
#include "spec/vmx.h"

namespace seamless::guest {
namespace {

constexpr u64 kMmio = static_cast<u64>(spec::ExitReason::EPT_VIOLATION);
constexpr u64 kPio = static_cast<u64>(spec::ExitReason::IO_INSTRUCTION);
constexpr u64 kHighBit = bit(32);
constexpr u64 kUntouched = 0x0f1e2d3c4b5a6978;

// One refusal: R10 says so, the other registers come back as they were, and the device has kept its value.
void expect_refusal(u64 device, u64 request, u64 size, u64 direction, u64 address, const char* name)
{
    store64(device, kUntouched);
    const VmcallResult answer = vmcall(request, size, direction, address, ~u64{0});
    check_equal(answer.status, kGhciInvalidOperand, name);
    const TdcallRegisters& r = answer.registers;
    check(r.r11 == request && r.r12 == size && r.r13 == direction && r.r14 == address && r.r15 == ~u64{0},
          "  its registers are untouched");
    check_equal(load64(device), kUntouched, "  the device is untouched");
}

} // namespace

bool guest_main(const Machine& machine)
{
    const MemoryRange range = find_resource(machine, ResourceType::MEMORY_MAPPED_IO);
    if (!machine.td || range.size == 0) {
        check(false, "a TD with a device");
        return false;
    }
    const u64 device = map_device(machine, range.start);
    const u64 gpa = range.start | machine.shared_bit;
    const u64 shared_end = machine.shared_bit << 1;

    expect_refusal(device, kMmio, 0, 1, gpa, "MMIO of 0 bytes");
    expect_refusal(device, kMmio, 3, 1, gpa, "MMIO of 3 bytes");
    expect_refusal(device, kMmio, 16, 1, gpa, "MMIO of 16 bytes");
    expect_refusal(device, kMmio, 4, 2, gpa, "MMIO with direction 2");
    expect_refusal(device, kMmio, 4, ~u64{0}, gpa, "MMIO with direction -1");
    expect_refusal(device, kMmio, 4, 1, range.start, "MMIO at a private GPA");
    expect_refusal(device, kMmio, 8, 1, shared_end - 4, "MMIO that leaves the shared half at its end");
    expect_refusal(device, kMmio, 8, 1, machine.shared_bit - 4, "MMIO that enters the shared half");
    expect_refusal(device, kMmio, 8, 0, shared_end - 4, "an MMIO read that leaves the shared half");
    expect_refusal(device, kPio, 8, 0, 0x3f8, "port access of 8 bytes");
    expect_refusal(device, kPio, kHighBit | 1, 0, 0x3f8, "port access whose size has high bits");
    expect_refusal(device, kPio, 1, 2, 0x3f8, "port access with direction 2");

    const VmcallResult good = vmcall(kMmio, 8, 0, gpa);
    check_equal(good.status, kSuccess, "a good MMIO read after all that");
    check_equal(good.value, kUntouched, "  has the device's value");
    // KVM keeps only the low halves of an MMIO request's size and direction.
    const VmcallResult cut = vmcall(kMmio, kHighBit | 4, kHighBit, gpa);
    check_equal(cut.status, kSuccess, "MMIO whose size and direction have high bits");
    check_equal(cut.value, truncate(kUntouched, 4), "  is a read of 4 bytes");
    const VmcallResult unknown = vmcall(0x12345);
    check_equal(unknown.status, kGhciUnsupported, "an unknown request");
    return failures() == 0;
}

} // namespace seamless::guest
