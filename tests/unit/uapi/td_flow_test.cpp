// SPDX-License-Identifier: Apache-2.0
// TDs and plain VMs built through ioctls, over the real TDX module and processors whose guests are scripts:
// the flow of an MMIO access from the first touch to the VMM's answer, and what breaks when one of its rules
// is taken away.
#include <gtest/gtest.h>

#include <thread>

#include "unit/uapi/scripted_td.h"

namespace seamless {
namespace {

using namespace uapi_test;

TEST(TdFlow, FirstTouchOfMmioInstallsAnSpteAndReenters)
{
    Host host;
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    td.tdvmcall(48, 4, 0, kDevice | kShared | 0x10);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MMIO);
    EXPECT_EQ(td.run->mmio.phys_addr, kDevice + 0x10);
    EXPECT_EQ(td.run->mmio.len, 4u);
    EXPECT_EQ(td.run->mmio.is_write, 0);
    const std::vector<Event> expected = {
        Event::kvm_entry,         Event::kvm_exit,          Event::kvm_page_fault, Event::mark_mmio_spte,
        Event::kvm_check_emulate, Event::kvm_entry,         Event::kvm_exit,       Event::kvm_tdx_vmcall,
        Event::kvm_mmio,          Event::kvm_userspace_exit};
    EXPECT_EQ(host.events(), expected);
    const auto mark = host.sink.of(Event::mark_mmio_spte);
    ASSERT_EQ(mark.size(), 1u);
    EXPECT_EQ(mark[0].values[0].number, kDevice >> 12);
    EXPECT_EQ(mark[0].values[1].number & (bit(63) | 7), 0u); // no permission, and #VE is not suppressed
    const auto check = host.sink.of(Event::kvm_check_emulate);
    EXPECT_STREQ(check[0].values[1].text, "X86EMUL_RETRY_INSTR");
    const u32 data = 0xcafe;
    std::memcpy(td.run->mmio.data, &data, sizeof data);
    td.expect_answer(0, data);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, WithoutTheRetryRuleKvmWouldHaveToEmulateATd)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.check_emulate_instruction = [](kvm::Vcpu&, int, std::span<const u8>) {
        return kvm::X86EMUL_CONTINUE;
    };
    Host host(ops);
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(td.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
}

TEST(TdFlow, WithoutAZeroMmioValueTheSpteWouldSuppressVe)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.shadow_mmio_value_tdx = bit(63);
    Host host(ops);
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    td.touch_shared(kDevice, spec::ept::qual::READ); // exits again, for ever
    td.host.lp().then_exit(spec::ExitReason::TRIPLE_FAULT);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(host.sink.of(Event::mark_mmio_spte).size(), 2u);
    EXPECT_NE(host.sink.of(Event::mark_mmio_spte)[0].values[1].number & bit(63), 0u);
}

TEST(TdFlow, AnIllFormedMmioRequestIsAnInvalidOperand)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(48, 3, 0, kDevice | kShared); // no such size
    td.expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, 48);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, PortReadsTravelThroughTheSharedPage)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(30, 1, 0, 0x3f8);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(td.run->io.port, 0x3f8);
    reinterpret_cast<u8*>(td.run)[td.run->io.data_offset] = 0x5a;
    td.expect_answer(0, 0x5a);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdFlow, MapGpaGoesToUserSpaceInChunks)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(0x10001, kRam | kShared, u64{3} << 20);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_HYPERCALL);
    EXPECT_EQ(td.run->hypercall.args[0], kRam);
    EXPECT_EQ(td.run->hypercall.args[1], 512u);
    EXPECT_EQ(td.run->hypercall.args[2], 0u); // to shared
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_HYPERCALL);
    EXPECT_EQ(td.run->hypercall.args[1], 256u);
    td.expect_answer(0, 0x10001);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, UnknownSubFunctionsAreUnsupported)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(0x10005, 0);
    td.expect_answer(TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, 0x10005);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdFlow, AttributeAndAccessThatDisagreeExitWithMemoryFault)
{
    Host host;
    Td td(host);
    td.build();
    td.touch_shared(kRam, spec::ept::qual::WRITE); // the frame is private
    EXPECT_EQ(td.enter(), -EFAULT);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MEMORY_FAULT);
    EXPECT_EQ(td.run->memory_fault.gpa, kRam);
    EXPECT_EQ(td.run->memory_fault.flags, 0u);
}

TEST(TdFlow, ConvertingAFrameMovesItBetweenTheRoots)
{
    Host host;
    Td td(host);
    td.build();
    kvm_memory_attributes to_shared{.address = kRam, .size = kPageSize, .attributes = 0, .flags = 0};
    ASSERT_EQ(host.ioctl(td.vm, KVM_SET_MEMORY_ATTRIBUTES, &to_shared), 0);
    EXPECT_EQ(host.sink.of(Event::kvm_exit).size(), 0u);
    td.touch_shared(kRam, spec::ept::qual::WRITE);
    td.host.lp().then_exit(spec::ExitReason::TRIPLE_FAULT);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, HaltBlocksUntilASignal)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(12, 0);
    // The handler of a real signal runs on the vCPU's thread: here the thread is known by its own call.
    std::atomic<bool> entered{false};
    pthread_t thread = pthread_self();
    struct sigaction act {};
    static uapi::Device* device = nullptr;
    device = host.device.get();
    act.sa_handler = [](int) { device->signal_arrived(); };
    sigaction(SIGUSR1, &act, nullptr);
    std::thread waker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        pthread_kill(thread, SIGUSR1);
    });
    EXPECT_EQ(td.enter(), -EINTR);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_INTR);
    waker.join();
}

TEST(TdFlow, ImmediateExitStillCompletesThePendingAccess)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(30, 4, 0, 0x60);
    ASSERT_EQ(td.enter(), 0);
    const u32 value = 0x12345678;
    std::memcpy(reinterpret_cast<u8*>(td.run) + td.run->io.data_offset, &value, sizeof value);
    td.run->immediate_exit = 1;
    EXPECT_EQ(td.enter(), -EINTR);
    td.run->immediate_exit = 0;
    td.expect_answer(0, value);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdCommands, AreRefusedOutOfOrder)
{
    Host host;
    Td td(host);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU, u64{0}), -EIO); // before INIT_VM
    EXPECT_EQ(td.command(td.vm, 99, nullptr), -EINVAL);
    EXPECT_EQ(td.command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), -EINVAL);
    EXPECT_EQ(td.init_vm(47), -EINVAL);
    EXPECT_EQ(td.command(td.vm, KVM_TDX_INIT_VM, nullptr), -EFAULT);
    ASSERT_EQ(td.init_vm(), 0);
    EXPECT_EQ(td.init_vm(), -EINVAL); // once only
    td.add_vcpu();
    EXPECT_EQ(td.enter(), -EINVAL);              // not finalized
    EXPECT_EQ(td.init_region(kRam, 1), -EINVAL); // vCPU not initialized
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr, 1), -EINVAL);
    ASSERT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), 0);
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), -EINVAL);
    EXPECT_EQ(td.init_region(kRam, 1), -EINVAL); // no slot
    td.add_memory();
    EXPECT_EQ(td.init_region(kRam | kShared, 1), -EINVAL);
    EXPECT_EQ(td.init_region(kRam, 0), -EINVAL);
    ASSERT_EQ(td.init_region(kRam, 1), 0);
    EXPECT_EQ(td.init_region(kRam, 1), -EEXIST);
    ASSERT_EQ(td.command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), 0);
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), -EINVAL);
}

TEST(TdCommands, ATdShowsNoRegisters)
{
    Host host;
    Td td(host);
    td.build();
    u8 buffer[4096] = {};
    for (const u32 request : {KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_GET_SREGS2, KVM_GET_FPU,
                              KVM_GET_XSAVE, KVM_GET_XCRS, KVM_GET_DEBUGREGS, KVM_GET_LAPIC})
        EXPECT_EQ(host.ioctl(td.vcpu, request, buffer), -EINVAL) << std::hex << request;
}

TEST(TdCommands, KeysComeBackWhenTdsEnd)
{
    Host host;
    for (int i = 0; i < 40; ++i) { // far more than there are keys
        Td td(host);
        td.build();
        for (const int fd : {td.vm, td.vcpu, td.gmem})
            EXPECT_EQ(host.device->close(fd), 0);
    }
    std::vector<std::unique_ptr<Td>> tds;
    for (int i = 0; i < 15; ++i) {
        tds.push_back(std::make_unique<Td>(host));
        EXPECT_EQ(tds.back()->init_vm(), 0);
    }
    Td one_too_many(host);
    EXPECT_EQ(one_too_many.init_vm(), -ENOSPC);
}

} // namespace
} // namespace seamless
