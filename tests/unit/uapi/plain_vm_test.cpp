// SPDX-License-Identifier: Apache-2.0
// Plain VMs through ioctls, and the errnos of wrong arguments.
#include <gtest/gtest.h>

#include <cstring>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fakes/scripted_lp.h"
#include "platform/platform.h"
#include "spec/kvm_abi.h"
#include "uapi/device.h"

namespace seamless {
namespace {

using namespace spec::kvm;
using trace::Event;

constexpr u64 kDevice = 0xfeb00000;

class PlainVm : public testing::Test {
  protected:
    PlainVm()
    {
        platform::Parameters p;
        p.make_lp = [](cpu::Package& package, unsigned id) {
            return std::make_unique<fakes::ScriptedLp>(package, id);
        };
        p.logical_processors = 2;
        p.memory_bytes = u64{2} << 30;
        p.trace_sink = &sink;
        p.tdx = false;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
        sys = device->open();
        vm = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
        vcpu = static_cast<int>(call(vm, KVM_CREATE_VCPU, u64{0}));
        run = static_cast<kvm_run*>(device->mmap(vcpu, kVcpuMmapSize));
    }
    long call(int fd, unsigned long request, const void* arg)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long call(int fd, unsigned long request, u64 arg = 0)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    fakes::ScriptedLp& lp() { return static_cast<fakes::ScriptedLp&>(platform->package().lp(0)); }
    void touch(spec::ExitReason reason, u64 gpa, u64 qualification = 0)
    {
        lp().then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(reason);
            v.exit_qualification = qualification;
            v.guest_physical_address = gpa;
            v.exit_instruction_len = 3;
        });
    }

    fakes::RecordingSink sink;
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
    int sys = -1, vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
};

TEST_F(PlainVm, AnswersWhatAKernelAnswers)
{
    EXPECT_EQ(call(sys, KVM_GET_API_VERSION), 12);
    EXPECT_EQ(call(sys, KVM_GET_API_VERSION, u64{1}), -EINVAL);
    EXPECT_EQ(call(sys, KVM_GET_VCPU_MMAP_SIZE), 12288);
    EXPECT_EQ(call(sys, 0xaeff), -EINVAL);
    EXPECT_EQ(call(vm, 0xaeff), -ENOTTY);
    EXPECT_EQ(call(vcpu, 0xaeff), -EINVAL);
    EXPECT_EQ(call(12345, KVM_RUN), -EBADF);
    EXPECT_EQ(call(sys, KVM_CREATE_VM, KVM_X86_TDX_VM), -EINVAL); // no module
    EXPECT_EQ(call(sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_VM_TYPES}), 1);
    EXPECT_EQ(call(vm, KVM_CREATE_VCPU, u64{0}), -EEXIST);
    EXPECT_EQ(call(vm, KVM_CREATE_IRQCHIP), -ENOTTY);
    EXPECT_EQ(call(vcpu, KVM_RUN, u64{1}), -EINVAL);
    EXPECT_EQ(call(vm, KVM_SET_USER_MEMORY_REGION, u64{8}), -EFAULT);
    kvm_tdx_cmd cmd{};
    EXPECT_EQ(call(vm, KVM_MEMORY_ENCRYPT_OP, &cmd), -ENOTTY);
    EXPECT_EQ(call(vcpu, KVM_MEMORY_ENCRYPT_OP, &cmd), -EINVAL);
}

TEST_F(PlainVm, FirstTouchIsAViolationAndLaterOnesAreMisconfigurations)
{
    touch(spec::ExitReason::EPT_VIOLATION, kDevice, spec::ept::qual::WRITE);
    EXPECT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_INTERNAL_ERROR); // there is no emulator here
    EXPECT_EQ(run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    const auto mark = sink.of(Event::mark_mmio_spte);
    ASSERT_EQ(mark.size(), 1u);
    EXPECT_EQ(mark[0].values[1].number & 7, 6u); // writable and executable, not readable
    EXPECT_STREQ(sink.of(Event::kvm_check_emulate)[0].values[1].text, "X86EMUL_CONTINUE");
    touch(spec::ExitReason::EPT_MISCONFIG, kDevice);
    EXPECT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_STREQ(sink.of(Event::handle_mmio_page_fault)[0].values[1].text, "RET_PF_EMULATE");
}

TEST_F(PlainVm, AMemslotChangeMakesAnMmioSpteOutOfDate)
{
    touch(spec::ExitReason::EPT_VIOLATION, kDevice, spec::ept::qual::WRITE);
    (void)call(vcpu, KVM_RUN);
    alignas(4096) static u8 ram[4096];
    kvm_userspace_memory_region region{.slot = 0,
                                       .flags = 0,
                                       .guest_phys_addr = 0,
                                       .memory_size = 4096,
                                       .userspace_addr = reinterpret_cast<u64>(ram)};
    ASSERT_EQ(call(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    touch(spec::ExitReason::EPT_MISCONFIG, kDevice);
    (void)call(vcpu, KVM_RUN);
    EXPECT_STREQ(sink.of(Event::handle_mmio_page_fault)[0].values[1].text, "RET_PF_INVALID");
    EXPECT_EQ(sink.of(Event::mark_mmio_spte).size(), 2u);
}

TEST_F(PlainVm, AWildcardIoeventfdTakesTheAccess)
{
    const int fd = eventfd(0, EFD_NONBLOCK);
    kvm_ioeventfd args{};
    args.addr = kDevice;
    args.fd = fd;
    ASSERT_EQ(call(vm, KVM_IOEVENTFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IOEVENTFD, &args), -EEXIST);
    touch(spec::ExitReason::EPT_MISCONFIG, kDevice);
    touch(spec::ExitReason::HLT, 0);
    EXPECT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_HLT);
    u64 count = 0;
    EXPECT_EQ(::read(fd, &count, sizeof count), 8);
    EXPECT_EQ(count, 1u);
    EXPECT_EQ(lp().history.back().vmcs.rip, 0xfff3u); // skipped
    args.flags = KVM_IOEVENTFD_FLAG_DEASSIGN;
    EXPECT_EQ(call(vm, KVM_IOEVENTFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IOEVENTFD, &args), -ENOENT);
    args.flags = 0;
    args.len = 3;
    EXPECT_EQ(call(vm, KVM_IOEVENTFD, &args), -EINVAL);
    close(fd);
}

TEST_F(PlainVm, MmioDuringEventDeliveryIsReported)
{
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(spec::ExitReason::EPT_VIOLATION);
        v.guest_physical_address = kDevice;
        v.idt_vectoring_info = spec::intr_info::VALID | spec::intr_info::HARDWARE_EXCEPTION | 14;
    });
    EXPECT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(run->internal.suberror, KVM_INTERNAL_ERROR_DELIVERY_EV);
}

TEST_F(PlainVm, MemoryRegionsAreChecked)
{
    alignas(4096) static u8 ram[8192];
    const auto set = [&](u32 slot, u64 gpa, u64 size, u64 hva, u32 flags = 0) {
        kvm_userspace_memory_region r{
            .slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = hva};
        return call(vm, KVM_SET_USER_MEMORY_REGION, &r);
    };
    const u64 hva = reinterpret_cast<u64>(ram);
    EXPECT_EQ(set(32764, 0, 4096, hva), -EINVAL);
    EXPECT_EQ(set(0, 1, 4096, hva), -EINVAL);
    EXPECT_EQ(set(0, 0, 4095, hva), -EINVAL);
    EXPECT_EQ(set(0, 0, 4096, hva + 8), -EINVAL);
    EXPECT_EQ(set(0, 0, 4096, u64{1} << 48), -EINVAL);
    EXPECT_EQ(set(0, 0, 4096, hva, 8), -EINVAL);
    EXPECT_EQ(set(0, 0, 4096, hva, KVM_MEM_GUEST_MEMFD), -EINVAL);
    EXPECT_EQ(set(0, 0, 0, hva), -EINVAL); // deletes what is not there
    EXPECT_EQ(set(0, 0, 8192, hva), 0);
    EXPECT_EQ(set(1, 4096, 4096, hva), -EEXIST);
    EXPECT_EQ(set(0, 0, 4096, hva), -EINVAL); // size changes
    EXPECT_EQ(set(0, 0, 0, hva), 0);
}

TEST_F(PlainVm, RegistersComeBackAsTheyWereSet)
{
    kvm_regs regs{};
    regs.rax = 1;
    regs.rsp = 2;
    regs.r15 = 3;
    regs.rip = 0x1000;
    regs.rflags = 2;
    ASSERT_EQ(call(vcpu, KVM_SET_REGS, &regs), 0);
    kvm_regs back{};
    ASSERT_EQ(call(vcpu, KVM_GET_REGS, &back), 0);
    EXPECT_EQ(std::memcmp(&regs, &back, sizeof regs), 0);
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    EXPECT_EQ(sregs.cs.base, 0xffff0000u);
    EXPECT_EQ(sregs.cr0, 0x60000010u);
    sregs.cr0 |= bit(31); // paging without protection
    EXPECT_EQ(call(vcpu, KVM_SET_SREGS, &sregs), -EINVAL);
}

TEST_F(PlainVm, WithoutAnApicUserSpaceKeepsTheTaskPriority)
{
    run->cr8 = 16;
    EXPECT_EQ(call(vcpu, KVM_RUN), -EINVAL);
    run->cr8 = 5;
    touch(spec::ExitReason::HLT, 0);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    EXPECT_EQ(sregs.cr8, 5u);
}

TEST_F(PlainVm, PortOutputReachesTheVmmAndIsSkippedOnce)
{
    lp().then([](cpu::Vmcs& v, cpu::GuestContext& c) {
        v.exit_reason = static_cast<u32>(spec::ExitReason::IO_INSTRUCTION);
        v.exit_qualification = u64{0x3f8} << 16;
        v.exit_instruction_len = 1;
        c[spec::Gpr::rax] = 'A';
    });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    ASSERT_EQ(run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(run->io.direction, KVM_EXIT_IO_OUT);
    EXPECT_EQ(reinterpret_cast<u8*>(run)[run->io.data_offset], 'A');
    touch(spec::ExitReason::HLT, 0);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(lp().history.back().vmcs.rip, 0xfff1u);
}

} // namespace
} // namespace seamless
