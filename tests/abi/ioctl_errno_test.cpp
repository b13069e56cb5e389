// SPDX-License-Identifier: Apache-2.0
// What each ioctl refuses, and with which errno: one row for each reason.
#include "abi/plain_vm.h"
#include "abi/td_robot.h"

namespace seamless::abi {
namespace {

enum class On : u8 { system, plain_vm, plain_vcpu, td_vm, td_vcpu };

struct Row {
    On on;
    u32 request;
    u64 arg; // the number itself, or a bad pointer
    long result;
    const char* why;
};

constexpr u64 kBadPointer = 8;

// clang-format off
constexpr Row kRows[] = {
    {On::system, KVM_GET_API_VERSION, 1, -EINVAL, "no argument"},
    {On::system, KVM_GET_VCPU_MMAP_SIZE, 1, -EINVAL, "no argument"},
    {On::system, KVM_CREATE_VM, 1, -EINVAL, "a type that is not there"},
    {On::system, KVM_CREATE_VM, 99, -EINVAL, "no such type"},
    {On::system, KVM_GET_SUPPORTED_CPUID, kBadPointer, -EFAULT, "pointer"},
    {On::system, KVM_GET_MSR_INDEX_LIST, kBadPointer, -EFAULT, "pointer"},
    {On::system, KVM_GET_MSR_FEATURE_INDEX_LIST, kBadPointer, -EFAULT, "pointer"},
    {On::system, KVM_RUN, 0, -EINVAL, "unknown here"},
    {On::system, KVM_CHECK_EXTENSION, 100000, 0, "no such capability"},
    {On::plain_vm, KVM_RUN, 0, -ENOTTY, "unknown here"},
    {On::plain_vm, KVM_CREATE_VCPU, 4096, -EINVAL, "id"},
    {On::plain_vm, KVM_CREATE_VCPU, 0, -EEXIST, "there is one"},
    {On::plain_vm, KVM_SET_TSS_ADDR, 0xfffffffful, -EINVAL, "beyond 4 GiB"},
    {On::plain_vm, KVM_SET_IDENTITY_MAP_ADDR, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SET_BOOT_CPU_ID, 0, -EBUSY, "vCPUs exist"},
    {On::plain_vm, KVM_SET_NR_MMU_PAGES, 63, -EINVAL, "too few"},
    {On::plain_vm, KVM_SET_NR_MMU_PAGES, 64, 0, "enough"},
    {On::plain_vm, KVM_SET_TSC_KHZ, 1000000, -EINVAL, "vCPUs exist"},
    {On::plain_vm, KVM_SET_USER_MEMORY_REGION, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SET_USER_MEMORY_REGION2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SET_MEMORY_ATTRIBUTES, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_CREATE_GUEST_MEMFD, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_ENABLE_CAP, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_IOEVENTFD, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_IRQFD, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SIGNAL_MSI, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SET_GSI_ROUTING, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_REGISTER_COALESCED_MMIO, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_UNREGISTER_COALESCED_MMIO, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_X86_SET_MSR_FILTER, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_GET_CLOCK, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_SET_CLOCK, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_CREATE_DEVICE, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_CREATE_PIT2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vm, KVM_GET_IRQCHIP, 0, -ENXIO, "no irqchip in the kernel"},
    {On::plain_vm, KVM_SET_IRQCHIP, 0, -ENXIO, "no irqchip in the kernel"},
    {On::plain_vm, KVM_MEMORY_ENCRYPT_OP, 0, -ENOTTY, "no TD"},
    {On::plain_vm, KVM_MEMORY_ENCRYPT_REG_REGION, 0, -ENOTTY, "no SEV"},
    {On::plain_vcpu, KVM_RUN, 1, -EINVAL, "no argument"},
    {On::plain_vcpu, KVM_CREATE_VM, 0, -EINVAL, "unknown here"},
    {On::plain_vcpu, KVM_SMI, 0, -ENOTTY, "no SMM"},
    {On::plain_vcpu, KVM_KVMCLOCK_CTRL, 0, -EINVAL, "no kvmclock"},
    {On::plain_vcpu, KVM_SET_TSC_KHZ, 1, -EINVAL, "no scaling"},
    {On::plain_vcpu, KVM_MEMORY_ENCRYPT_OP, 0, -EINVAL, "no TD"},
    {On::plain_vcpu, KVM_GET_LAPIC, 0, -EINVAL, "no APIC in the kernel"},
    {On::plain_vcpu, KVM_GET_REGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_REGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_SREGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_SREGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_SREGS2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_SREGS2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_FPU, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_FPU, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_XSAVE, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_XSAVE, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_XSAVE2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_XCRS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_XCRS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_DEBUGREGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_DEBUGREGS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_MSRS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_MSRS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_CPUID2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_CPUID2, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_MP_STATE, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_MP_STATE, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_GET_VCPU_EVENTS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_SET_VCPU_EVENTS, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_INTERRUPT, kBadPointer, -EFAULT, "pointer"},
    {On::plain_vcpu, KVM_PRE_FAULT_MEMORY, kBadPointer, -EFAULT, "pointer"},
    {On::td_vm, KVM_CREATE_VCPU, 7, -EIO, "the TD is final"},
    {On::td_vm, KVM_MEMORY_ENCRYPT_OP, kBadPointer, -EFAULT, "pointer"},
    {On::td_vcpu, KVM_MEMORY_ENCRYPT_OP, kBadPointer, -EINVAL, "the TD is final, before all else"},
    {On::td_vcpu, KVM_SMI, 0, -ENOTTY, "no SMM"},
    // What a TD does not show, whatever the pointer is.
    {On::td_vcpu, KVM_GET_REGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_REGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_SREGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_SREGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_SREGS2, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_SREGS2, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_FPU, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_FPU, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_XSAVE, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_XSAVE, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_XSAVE2, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_XCRS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_XCRS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_DEBUGREGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_DEBUGREGS, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_GUEST_DEBUG, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_GET_LAPIC, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_LAPIC, kBadPointer, -EINVAL, "protected"},
    {On::td_vcpu, KVM_SET_TSC_KHZ, 0, -EINVAL, "protected"},
    {On::td_vcpu, KVM_TRANSLATE, kBadPointer, -EINVAL, "protected"},
};
// clang-format on

class IoctlErrno : public testing::Test {
  protected:
    int fd(On on)
    {
        switch (on) {
        case On::system:
            return host.sys;
        case On::plain_vm:
            return plain.vm;
        case On::plain_vcpu:
            return plain.vcpu;
        case On::td_vm:
            return td.vm;
        case On::td_vcpu:
            break;
        }
        return td.vcpus[0];
    }
    long enable(int vm, u32 cap, u64 arg, u32 flags = 0)
    {
        kvm_enable_cap c{};
        c.cap = cap;
        c.flags = flags;
        c.args[0] = arg;
        return host.ioctl(vm, KVM_ENABLE_CAP, &c);
    }
    Host host;
    PlainVm plain{host};
    TdRobot td{host};
};

TEST_F(IoctlErrno, OfEachReasonInTheTable)
{
    for (const Row& row : kRows)
        EXPECT_EQ(host.ioctl(fd(row.on), row.request, row.arg), row.result)
            << std::hex << row.request << ": " << row.why;
    EXPECT_EQ(td.vmcall(0x10000, 0).r10, 0u); // none of it has harmed the TD
}

TEST_F(IoctlErrno, OfCapabilities)
{
    EXPECT_EQ(enable(plain.vm, KVM_CAP_SPLIT_IRQCHIP, 24), -EEXIST); // a vCPU exists
    EXPECT_EQ(enable(plain.vm, KVM_CAP_SPLIT_IRQCHIP, 4097), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_X2APIC_API, 4), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_EXIT_HYPERCALL, 1), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40), -ENXIO);
    EXPECT_EQ(enable(td.vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40), -EINVAL); // a vCPU exists
    EXPECT_EQ(enable(plain.vm, KVM_CAP_X86_USER_SPACE_MSR, 8), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 2), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_MAX_VCPUS, 4), -EINVAL);
    EXPECT_EQ(enable(plain.vm, KVM_CAP_X86_USER_SPACE_MSR, 7, 1), -EINVAL); // flags
    EXPECT_EQ(enable(plain.vm, 100000, 0), -EINVAL);
}

TEST_F(IoctlErrno, OfMemoryAttributesAndGuestMemfd)
{
    const auto attributes = [&](int vm, u64 address, u64 size, u64 value, u64 flags = 0) {
        kvm_memory_attributes a{.address = address, .size = size, .attributes = value, .flags = flags};
        return host.ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a);
    };
    EXPECT_EQ(attributes(td.vm, 0, kPageSize, 0, 1), -EINVAL);
    EXPECT_EQ(attributes(td.vm, 0, kPageSize, 1), -EINVAL);
    EXPECT_EQ(attributes(td.vm, 0, 0, 8), -EINVAL);
    EXPECT_EQ(attributes(td.vm, 1, kPageSize, 8), -EINVAL);
    EXPECT_EQ(attributes(td.vm, 0, 1, 8), -EINVAL);
    EXPECT_EQ(attributes(td.vm, ~u64{0xfff}, 2 * kPageSize, 8), -EINVAL);
    EXPECT_EQ(attributes(plain.vm, 0, kPageSize, 8), -EINVAL); // a plain VM has no private memory
    EXPECT_EQ(attributes(td.vm, 0x900000, kPageSize, 8), 0);   // no slot is needed
    const auto memfd = [&](u64 size, u64 flags) {
        kvm_create_guest_memfd c{.size = size, .flags = flags, .reserved = {}};
        return host.ioctl(td.vm, KVM_CREATE_GUEST_MEMFD, &c);
    };
    EXPECT_EQ(memfd(0, 0), -EINVAL);
    EXPECT_EQ(memfd(kPageSize + 1, 0), -EINVAL);
    EXPECT_EQ(memfd(~u64{0xfff}, 0), -EINVAL);
    EXPECT_EQ(memfd(kPageSize, 1), -EINVAL);
    EXPECT_TRUE(uapi::Device::failed(host.device->mmap(td.gmem, kPageSize)));
}

TEST_F(IoctlErrno, OfMemslotsWithAFile)
{
    Memory memory(64 * kPageSize);
    kvm_userspace_memory_region2 good{};
    good.slot = 9;
    good.flags = KVM_MEM_GUEST_MEMFD;
    good.guest_phys_addr = 0x900000;
    good.memory_size = kPageSize;
    good.userspace_addr = reinterpret_cast<u64>(memory.at);
    kvm_create_guest_memfd create{.size = 2 * kPageSize, .flags = 0, .reserved = {}};
    good.guest_memfd = static_cast<u32>(host.ioctl(td.vm, KVM_CREATE_GUEST_MEMFD, &create));
    const auto set = [&](auto change, int vm = -1) {
        kvm_userspace_memory_region2 r = good;
        change(r);
        return host.ioctl(vm < 0 ? td.vm : vm, KVM_SET_USER_MEMORY_REGION2, &r);
    };
    using Region = kvm_userspace_memory_region2;
    EXPECT_EQ(set([](Region& r) { r.flags |= KVM_MEM_READONLY; }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.flags |= 8; }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.guest_memfd = 9999; }), -EBADF);
    EXPECT_EQ(set([](Region& r) { r.guest_memfd = 0; }), -EINVAL); // a file, but not such a one
    EXPECT_EQ(set([this](Region& r) { r.guest_memfd = static_cast<u32>(td.vm); }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.guest_memfd_offset = 1; }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.guest_memfd_offset = ~u64{0xfff}; }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.guest_memfd_offset = 2 * kPageSize; }), -EINVAL); // beyond the file
    EXPECT_EQ(set([](Region& r) { r.guest_phys_addr |= TdRobot::kShared; }), -EINVAL);
    EXPECT_EQ(set([](Region& r) { r.guest_phys_addr = TdRobot::kPrivate; }), -EEXIST);
    EXPECT_EQ(set([](Region& r) { r.slot = 1 << 16; }), -EINVAL); // no SMM address space
    EXPECT_EQ(set([](Region&) {}, plain.vm), -EINVAL);            // no private memory
    EXPECT_EQ(set([](Region&) {}), 0);
    EXPECT_EQ(set([](Region& r) { r.guest_phys_addr += kPageSize; }), -EINVAL); // it cannot move
    EXPECT_EQ(set([](Region& r) {
                  r.slot = 10;
                  r.guest_phys_addr = 0xa00000;
              }),
              -EINVAL); // that part of the file is bound
    EXPECT_EQ(set([](Region& r) { r.memory_size = 0; }), 0);
    EXPECT_EQ(set([](Region& r) { r.memory_size = 0; }), -EINVAL); // it is gone
}

TEST_F(IoctlErrno, OfTablesThatAreTooLong)
{
    struct {
        kvm_cpuid2 header;
        kvm_cpuid_entry2 entry;
    } cpuid{};
    cpuid.header.nent = 1;
    EXPECT_EQ(host.ioctl(host.sys, KVM_GET_SUPPORTED_CPUID, &cpuid), -E2BIG);
    cpuid.header.nent = 257;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_CPUID2, &cpuid), -E2BIG);
    EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_SET_CPUID2, &cpuid), -E2BIG);
    cpuid.header.nent = 1;
    EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_SET_CPUID2, &cpuid), -EINVAL); // it has run with another
    EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_GET_CPUID2, &cpuid), -E2BIG);
    EXPECT_EQ(cpuid.header.nent, 4u); // as many as are needed
    struct {
        kvm_msrs header;
        kvm_msr_entry entries[2];
    } msrs{};
    msrs.header.nmsrs = 256;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_GET_MSRS, &msrs), -E2BIG);
    msrs.header.nmsrs = 2;
    msrs.entries[0].index = 0x277;
    msrs.entries[1].index = 0x12345;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_GET_MSRS, &msrs), 1); // the second fails
    EXPECT_EQ(msrs.entries[0].data, 0x0007040600070406u);
    msrs.entries[0].data = 0xff;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_MSRS, &msrs), 0);
    u32 room = 0;
    EXPECT_EQ(host.ioctl(host.sys, KVM_GET_MSR_INDEX_LIST, &room), -E2BIG);
    EXPECT_GT(room, 10u);
}

TEST_F(IoctlErrno, OfRegistersThatAreNotValid)
{
    kvm_debugregs debug{};
    debug.flags = 1;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_DEBUGREGS, &debug), -EINVAL);
    debug.flags = 0;
    debug.dr7 = bit(32);
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_DEBUGREGS, &debug), -EINVAL);
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_XCRS, &xcrs), -EINVAL); // x87 is always on
    xcrs.nr_xcrs = 17;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_XCRS, &xcrs), -EINVAL);
    kvm_xsave xsave{};
    xsave.region[128] = 1u << 31; // XSTATE_BV names a component that is not there
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_XSAVE, &xsave), -EINVAL);
    xsave.region[128] = 0;
    xsave.region[6] = 0x10000; // MXCSR
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_XSAVE, &xsave), -EINVAL);
    kvm_mp_state state{KVM_MP_STATE_HALTED};
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_MP_STATE, &state), -EINVAL); // no APIC here
    kvm_interrupt interrupt{256};
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_INTERRUPT, &interrupt), -EINVAL);
    kvm_vcpu_events events{};
    events.flags = bit(31);
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    plain.run->kvm_valid_regs = 1;
    EXPECT_EQ(host.ioctl(plain.vcpu, KVM_RUN), -EINVAL);
    td.runs[0]->kvm_dirty_regs = 1;
    EXPECT_EQ(td.run_once(), -EINVAL);
}

TEST_F(IoctlErrno, OfTheClock)
{
    kvm_clock_data data{};
    ASSERT_EQ(host.ioctl(td.vm, KVM_GET_CLOCK, &data), 0);
    EXPECT_EQ(data.flags, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC);
    EXPECT_GT(data.host_tsc, 0u);
    data = {};
    data.clock = 1'000'000'000'000;
    ASSERT_EQ(host.ioctl(plain.vm, KVM_SET_CLOCK, &data), 0);
    ASSERT_EQ(host.ioctl(plain.vm, KVM_GET_CLOCK, &data), 0);
    EXPECT_GE(data.clock, 1'000'000'000'000u);
    EXPECT_LT(data.clock, 1'100'000'000'000u);
    data.flags = 1;
    EXPECT_EQ(host.ioctl(plain.vm, KVM_SET_CLOCK, &data), -EINVAL);
    u8 zeros[64] = {};
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_PIT2, zeros), -ENOENT);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_DEVICE, zeros), -ENODEV);
}

} // namespace
} // namespace seamless::abi
