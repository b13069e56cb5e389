// SPDX-License-Identifier: Apache-2.0
// Writes that never reach the VMM's loop: eventfds that listen to an address, and the ring of coalesced ones.
#include <fcntl.h>
#include <sys/eventfd.h>

#include "abi/plain_vm.h"
#include "abi/td_robot.h"

namespace seamless::abi {
namespace {

class Eventfd {
  public:
    ~Eventfd() { close(fd); }
    u64 count()
    {
        u64 n = 0;
        return ::read(fd, &n, sizeof n) == sizeof n ? n : 0;
    }
    const int fd = eventfd(0, EFD_NONBLOCK);
};

long listen(Host& host, int vm, int fd, u64 addr, u32 len, u32 flags = 0, u64 datamatch = 0)
{
    kvm_ioeventfd args{};
    args.addr = addr;
    args.len = len;
    args.fd = fd;
    args.flags = flags;
    args.datamatch = datamatch;
    return host.ioctl(vm, KVM_IOEVENTFD, &args);
}

class Ioeventfds : public testing::Test {
  protected:
    static constexpr u32 kMatch = KVM_IOEVENTFD_FLAG_DATAMATCH, kPio = KVM_IOEVENTFD_FLAG_PIO,
                         kDeassign = KVM_IOEVENTFD_FLAG_DEASSIGN;
    Host host;
    PlainVm vm{host};
    Eventfd event, other;
};

TEST_F(Ioeventfds, RefuseEachWrongArgument)
{
    const auto set = [&](u64 addr, u32 len, u32 flags) {
        return listen(host, vm.vm, event.fd, addr, len, flags);
    };
    EXPECT_EQ(set(kDevice, 4, 32), -EINVAL);
    EXPECT_EQ(set(kDevice, 4, bit(31)), -EINVAL);
    for (const u32 len : {3u, 5u, 16u, ~0u})
        EXPECT_EQ(set(kDevice, len, 0), -EINVAL) << len;
    EXPECT_EQ(set(~u64{2}, 4, 0), -EINVAL); // the address wraps
    EXPECT_EQ(set(kDevice, 0, kMatch), -EINVAL);
    EXPECT_EQ(listen(host, vm.vm, 9999, kDevice, 4), -EBADF);
    EXPECT_EQ(listen(host, vm.vm, -1, kDevice, 4), -EBADF);
    const int file = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    EXPECT_EQ(listen(host, vm.vm, file, kDevice, 4), -EINVAL); // a file, but no eventfd
    close(file);
    EXPECT_EQ(set(kDevice, 4, kDeassign), -ENOENT);
    // None of them has left something behind.
    vm.regs.rdi = kDevice;
    vm.start({0x89, 0x07});
    vm.expect_mmio(true, kDevice, 4);
}

TEST_F(Ioeventfds, CollideWhereAWriteWouldBeBoths)
{
    const auto set = [&](u64 addr, u32 len, u32 flags, u64 datamatch = 0) {
        return listen(host, vm.vm, event.fd, addr, len, flags, datamatch);
    };
    EXPECT_EQ(set(kDevice, 4, kMatch, 1), 0);
    EXPECT_EQ(set(kDevice, 4, kMatch, 1), -EEXIST);
    EXPECT_EQ(set(kDevice, 4, kMatch, 2), 0);
    EXPECT_EQ(set(kDevice, 2, kMatch, 1), 0); // another length
    EXPECT_EQ(set(kDevice, 4, 0), -EEXIST);   // any value
    EXPECT_EQ(set(kDevice, 0, 0), -EEXIST);   // any length
    EXPECT_EQ(set(kDevice, 4, kPio), 0);      // another bus
    EXPECT_EQ(set(kDevice + 4, 0, 0), 0);     // another address
    EXPECT_EQ(set(kDevice + 4, 8, 0), -EEXIST);
    EXPECT_EQ(set(kDevice, 4, kMatch | kDeassign, 3), -ENOENT);
    EXPECT_EQ(set(kDevice, 4, kDeassign), -ENOENT);
    EXPECT_EQ(set(kDevice, 4, kMatch | kDeassign, 2), 0);
    EXPECT_EQ(set(kDevice, 4, kMatch | kDeassign, 2), -ENOENT);
}

TEST_F(Ioeventfds, OfALengthAndAValueTakeWhatMatches)
{
    ASSERT_EQ(listen(host, vm.vm, event.fd, kDevice, 4, kMatch, 0x11223344), 0);
    vm.regs.rdi = kDevice;
    vm.regs.rax = 0x11223344;
    vm.regs.rbx = 0x11223345;
    // Eax to [edi], ebx to [edi], ax to [edi], eax from [edi].
    vm.start({0x89, 0x07, 0x89, 0x1f, 0x66, 0x89, 0x07, 0x8b, 0x0f});
    vm.expect_mmio(true, kDevice, 4); // the first was taken
    EXPECT_EQ(vm.data(), 0x11223345u);
    EXPECT_EQ(event.count(), 1u);
    vm.go_on();
    vm.expect_mmio(true, kDevice, 2);
    vm.go_on();
    vm.expect_mmio(false, kDevice, 4); // a read is nobody's
    EXPECT_EQ(event.count(), 0u);
}

// The length of the instruction behind a misconfiguration is all that a wildcard has to skip it: forms of
// many lengths follow each other, and the INC behind each shows that it has run.
TEST_F(Ioeventfds, AWildcardSkipsInstructionsOfAnyLength)
{
    ASSERT_EQ(listen(host, vm.vm, event.fd, kDevice, 0), 0);
    vm.regs.rdi = kDevice;
    EXPECT_EQ(vm.start({0x89, 0x07, 0x43,                         // mov [edi], eax
                        0x88, 0x07, 0x43,                         // mov [edi], al
                        0x66, 0x89, 0x47, 0x00, 0x43,             // disp8
                        0x89, 0x87, 0,    0,    0,    0,    0x43, // disp32
                        0xc7, 0x84, 0x27, 0x00, 0x00, 0x00, 0x00, 0x78, 0x56, 0x34, 0x12, 0x43, // sib, imm32
                        0x66, 0xc7, 0x07, 0x34, 0x12, 0x43,                                     // imm16
                        0xa3, 0x00, 0x00, 0xb0, 0xfe, 0x43}),                                   // moffs
              KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rbx, 7u);
    EXPECT_EQ(event.count(), 7u);
    EXPECT_EQ(host.trace.of(Event::kvm_fast_mmio).size(), 6u); // the first touch was a violation
    EXPECT_TRUE(host.trace.of(Event::kvm_userspace_exit).size() <= 1);
}

TEST_F(Ioeventfds, OfPorts)
{
    ASSERT_EQ(listen(host, vm.vm, event.fd, 0x80, 1, kPio | kMatch, 0x5a), 0);
    ASSERT_EQ(listen(host, vm.vm, other.fd, 0x90, 0, kPio), 0);
    vm.regs.rax = 0x5a;
    vm.regs.rdx = 0x90;
    vm.start({0xe6, 0x80, 0xef, 0xee, 0xe7, 0x80}); // out 80h, al; out dx, eax; out dx, al; out 80h, eax
    ASSERT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(vm.run->io.port, 0x80);
    EXPECT_EQ(vm.run->io.size, 4);
    EXPECT_EQ(event.count(), 1u);
    EXPECT_EQ(other.count(), 2u);
}

TEST(TdIoeventfds, TakeAWriteOfATdAndNothingElse)
{
    Host host;
    TdRobot td(host);
    Eventfd match, any;
    constexpr u64 kAny = TdRobot::kDevice + 0x100;
    ASSERT_EQ(
        listen(host, td.vm, match.fd, TdRobot::kDevice, 8, KVM_IOEVENTFD_FLAG_DATAMATCH, 0x1122334455667788),
        0);
    ASSERT_EQ(listen(host, td.vm, any.fd, kAny, 0), 0);
    const u64 view = TdRobot::kHighView + (TdRobot::kDevice - 0xc0000000);
    td.store(view, 0x1122334455667788); // fails if the VMM is asked
    EXPECT_EQ(match.count(), 1u);
    EXPECT_EQ(td.mailbox().ve_status, 0u);
    for (const u64 value : {0ull, 1ull, ~0ull})
        td.store(view + 0x100, value);
    EXPECT_EQ(any.count(), 3u);
    EXPECT_EQ(td.mailbox().ve_status, 0u);
    EXPECT_EQ(host.trace.of(Event::kvm_fast_mmio).size(), 3u);
    // By TDVMCALL alone, of any size; RIP is the guest's own affair.
    for (const u64 size : {1, 2, 4, 8})
        EXPECT_EQ(td.vmcall(48, size, 1, kAny | TdRobot::kShared, 0).r10, 0u);
    EXPECT_EQ(any.count(), 4u);
    unsigned asked = 0;
    const auto answer = [&](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_MMIO);
        ++asked;
        return true;
    };
    td.vmcall(48, 8, 1, TdRobot::kDevice | TdRobot::kShared, 0x1122334455667789, answer); // another value
    td.vmcall(48, 4, 1, TdRobot::kDevice | TdRobot::kShared, 0x55667788, answer);         // another length
    td.vmcall(48, 8, 0, kAny | TdRobot::kShared, 0, answer);                              // a read
    EXPECT_EQ(asked, 3u);
    EXPECT_EQ(match.count() + any.count(), 0u);
}

// The ring of a VM, as a VMM reads it.
class CoalescedWrites : public testing::Test {
  protected:
    long zone(u32 request, u64 addr, u32 size, u32 pio)
    {
        const kvm_coalesced_mmio_zone z{.addr = addr, .size = size, .pio = pio};
        return host.ioctl(vm.vm, request, &z);
    }
    kvm_coalesced_mmio_ring& ring()
    {
        return *reinterpret_cast<kvm_coalesced_mmio_ring*>(reinterpret_cast<u8*>(vm.run) +
                                                           KVM_COALESCED_MMIO_PAGE_OFFSET * kPageSize);
    }
    void expect_entry(u32 at, u64 addr, u32 len, u32 pio, u64 data)
    {
        const auto& entry = reinterpret_cast<const kvm_coalesced_mmio*>(&ring() + 1)[at];
        EXPECT_EQ(entry.phys_addr, addr);
        EXPECT_EQ(entry.len, len);
        EXPECT_EQ(entry.pio, pio);
        u64 value = 0;
        std::memcpy(&value, entry.data, len);
        EXPECT_EQ(value, data);
    }
    Host host;
    PlainVm vm{host};
};

TEST_F(CoalescedWrites, OfMemoryAreReadFromTheRing)
{
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, kDevice, 8, 0), 0);
    vm.regs.rdi = kDevice;
    vm.regs.rax = 0x11223344;
    // Eax to [edi], al to [edi + 7], eax to [edi + 6]: that leaves the zone.
    vm.start({0x89, 0x07, 0x88, 0x47, 0x07, 0x89, 0x47, 0x06, 0x8b, 0x07});
    vm.expect_mmio(true, kDevice + 6, 4);
    EXPECT_EQ(ring().first, 0u);
    ASSERT_EQ(ring().last, 2u);
    expect_entry(0, kDevice, 4, 0, 0x11223344);
    expect_entry(1, kDevice + 7, 1, 0, 0x44);
    vm.go_on();
    vm.expect_mmio(false, kDevice, 4); // reads never
}

TEST_F(CoalescedWrites, OfPortsAreReadFromTheRing)
{
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, 0x70, 2, 1), 0);
    vm.regs.rax = 0xa1b2c3d4;
    EXPECT_EQ(vm.start({0xe6, 0x70, 0x66, 0xe7, 0x70, 0xe6, 0x71}), KVM_EXIT_HLT);
    ASSERT_EQ(ring().last, 3u);
    expect_entry(0, 0x70, 1, 1, 0xd4);
    expect_entry(1, 0x70, 2, 1, 0xc3d4);
    expect_entry(2, 0x71, 1, 1, 0xd4);
    vm.regs.rip = kCode;
    ASSERT_EQ(zone(KVM_UNREGISTER_COALESCED_MMIO, 0x70, 2, 1), 0);
    vm.start({0xe6, 0x70});
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
}

TEST_F(CoalescedWrites, TheVmmIsAskedWhenTheRingIsFull)
{
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, kDevice, 4, 0), 0);
    vm.regs.rdi = kDevice;
    vm.start({0x89, 0x07, 0x40, 0xeb, 0xfb}); // mov [edi], eax; inc eax; again
    vm.expect_mmio(true, kDevice, 4);
    EXPECT_EQ(vm.data(), KVM_COALESCED_MMIO_MAX - 1);
    EXPECT_EQ(ring().last, KVM_COALESCED_MMIO_MAX - 1);
    for (u32 i = 0; i < KVM_COALESCED_MMIO_MAX - 1; ++i)
        expect_entry(i, kDevice, 4, 0, i);
    ring().first = 10; // ten are read: ten more fit
    vm.go_on();
    EXPECT_EQ(vm.data(), KVM_COALESCED_MMIO_MAX + 10);
    EXPECT_EQ(ring().last, 9u);
    expect_entry(0, kDevice, 4, 0, KVM_COALESCED_MMIO_MAX + 1);
}

TEST_F(CoalescedWrites, ZonesAreOfMemoryOrOfPorts)
{
    EXPECT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, kDevice, 4, 2), -EINVAL);
    EXPECT_EQ(zone(KVM_UNREGISTER_COALESCED_MMIO, kDevice, 4, 2), -EINVAL);
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, 0x70, 2, 0), 0); // not a port's
    vm.start({0xe6, 0x70});
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(ring().last, 0u);
}

} // namespace
} // namespace seamless::abi
