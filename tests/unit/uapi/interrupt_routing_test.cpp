// SPDX-License-Identifier: Apache-2.0
// The ways of interrupts to a split irqchip: routes, lines, irqfds, and the way back of their end.
#include <sys/eventfd.h>
#include <unistd.h>

#include "unit/uapi/interrupts.h"

namespace seamless::uapi_test {
namespace {

TEST_F(Interrupts, RoutesAreChecked)
{
    EXPECT_EQ(route(5, 0, 0x44), 0);
    EXPECT_EQ(route(4096, 0, 0x44), -EINVAL);
    struct {
        kvm_irq_routing header;
        kvm_irq_routing_entry entry[2];
    } r{};
    r.header.nr = 1;
    r.entry[0].type = KVM_IRQ_ROUTING_IRQCHIP; // no IOAPIC here
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.entry[0].type = KVM_IRQ_ROUTING_MSI;
    r.entry[0].flags = 2;
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.entry[0].flags = 0;
    r.entry[1].type = KVM_IRQ_ROUTING_MSI;
    r.header.nr = 2; // one GSI, two messages
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.header.nr = 4097;
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.header = {.nr = 1, .flags = 1};
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, u64{8}), -EFAULT);
    kvm_irq_level line{.irq = 5, .level = 1};
    EXPECT_EQ(call(vm, KVM_IRQ_LINE_STATUS, &line), 0);
    EXPECT_EQ(line.irq, 1u);
    line = {.irq = 5, .level = 0}; // a message has no falling edge
    EXPECT_EQ(call(vm, KVM_IRQ_LINE_STATUS, &line), 0);
    EXPECT_EQ(static_cast<int>(line.irq), -1);
}

TEST_F(Interrupts, AnIrqfdRaisesItsRoute)
{
    set_rflags(vcpu, kIf);
    ASSERT_EQ(route(30, 0, 0x46), 0);
    const int fd = eventfd(0, 0);
    kvm_irqfd args{};
    args.fd = static_cast<u32>(fd);
    args.gsi = 30;
    ASSERT_EQ(call(vm, KVM_IRQFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EBUSY);
    args.flags = KVM_IRQFD_FLAG_RESAMPLE;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    args.flags = 4;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    args.flags = 0;
    args.fd = 9999;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EBADF);
    args.fd = static_cast<u32>(STDERR_FILENO);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    exit(ExitReason::HLT);
    stop();
    std::thread sender = later([=] {
        const u64 one = 1;
        EXPECT_EQ(write(fd, &one, sizeof one), 8);
    });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), external(0x46));
    args = {
        .fd = static_cast<u32>(fd), .gsi = 30, .flags = KVM_IRQFD_FLAG_DEASSIGN, .resamplefd = 0, .pad = {}};
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), 0); // not there: no error, as in KVM
    close(fd);
}

TEST_F(Interrupts, TheEndOfALevelInterruptReachesTheVmmsIoapic)
{
    set_rflags(vcpu, kIf);
    ASSERT_EQ(route(4, 0, 0x47 | 0x8000), 0); // below the 24 pins, level triggered
    kvm_irq_level line{.irq = 4, .level = 1};
    ASSERT_EQ(call(vm, KVM_IRQ_LINE, &line), 0);
    wrmsr(x2apic(apic::EOI), 0);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(injected(0), external(0x47));
    ASSERT_EQ(run->exit_reason, KVM_EXIT_IOAPIC_EOI);
    EXPECT_EQ(run->eoi.vector, 0x47);
    EXPECT_EQ(msi(0, 0x48), 1); // an edge: nobody needs to know
    wrmsr(x2apic(apic::EOI), 0);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN);
}

} // namespace
} // namespace seamless::uapi_test
