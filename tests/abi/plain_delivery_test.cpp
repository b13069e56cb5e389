// SPDX-License-Identifier: Apache-2.0
// The delivery of an event that touches a device, in a plain VM: nobody can finish it, and the VMM is told.
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

constexpr u64 kBreakpoint = 3;
constexpr u8 kInt3 = 0xcc, kNop = 0x90;

class PlainDelivery : public testing::Test {
  protected:
    // The five words that tell which event, at which exit, and where.
    void expect_delivery(u64 event, u64 gpa, u64 access)
    {
        ASSERT_EQ(vm.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
        EXPECT_EQ(vm.run->internal.suberror, KVM_INTERNAL_ERROR_DELIVERY_EV);
        ASSERT_EQ(vm.run->internal.ndata, 5u);
        const auto& data = vm.run->internal.data;
        EXPECT_EQ(data[0], event);
        EXPECT_EQ(data[1], kViolation);
        EXPECT_EQ(data[2] & 7, access);
        EXPECT_EQ(data[3], gpa);
        EXPECT_LT(data[4], 6u); // the processor
    }
    static constexpr u64 kViolation = 48;
    static constexpr u64 kValid = bit(31), kSoftware = 6 << 8, kHardware = 3 << 8, kErrorCode = bit(11);
    Host host;
    PlainVm vm{host};
};

// The processor looks at a frame as a whole, from its lowest byte.
TEST_F(PlainDelivery, AStackThatIsADevice)
{
    vm.regs.rsp = kDevice + 0x800;
    vm.start({kNop, kInt3});
    expect_delivery(kValid | kSoftware | kBreakpoint, kDevice + 0x7f4, spec::ept::qual::WRITE);
    EXPECT_EQ(vm.regs.rip, kCode + 1); // the INT3 has not retired
    EXPECT_EQ(vm.regs.rsp, kDevice + 0x800);
}

TEST_F(PlainDelivery, ATableOfInterruptsThatIsADevice)
{
    vm.sregs.idt.base = kDevice;
    vm.start({kInt3});
    expect_delivery(kValid | kSoftware | kBreakpoint, kDevice + 8 * kBreakpoint, spec::ept::qual::READ);
    EXPECT_EQ(vm.regs.rip, kCode);
}

TEST_F(PlainDelivery, AnExceptionWithAnErrorCode)
{
    vm.regs.rsp = kDevice + 0x800;
    vm.regs.rax = 0x38;     // beyond the GDT
    vm.start({0x8e, 0xd8}); // mov ds, eax
    expect_delivery(kValid | kHardware | kErrorCode | 13, kDevice + 0x7f0, spec::ept::qual::WRITE);
}

// KVM's quirk: at a misconfiguration it only looks whether it may emulate, and enters again if not.
TEST_F(PlainDelivery, ToADeviceThatWasTouchedBeforeIsTriedUntilASignal)
{
    vm.regs.rdi = kDevice;
    vm.regs.rsp = kDevice + 0x800;
    vm.start({0x89, 0x07, kInt3}); // mov [edi], eax
    vm.expect_mmio(true, kDevice, 4);
    std::size_t exits = 0;
    host.trace.watch = [&](const trace::Record& r) {
        exits += r.event == Event::kvm_exit;
        if (exits == 100)
            host.device->signal_arrived();
    };
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR);
    EXPECT_GE(host.trace.exits("EPT_MISCONFIG"), 90u);
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_GET_REGS, &vm.regs), 0);
    EXPECT_EQ(vm.regs.rip, kCode + 2); // nothing was lost meanwhile
    EXPECT_EQ(vm.regs.rsp, kDevice + 0x800);
}

} // namespace
} // namespace seamless::abi
