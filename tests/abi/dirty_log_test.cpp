// SPDX-License-Identifier: Apache-2.0
// The dirty log of memslots, with guests that write: what is logged, that it is logged again after it was
// read, and what is refused. KVM API: "KVM_GET_DIRTY_LOG", "KVM_CLEAR_DIRTY_LOG".
#include <bit>

#include "abi/plain_vm.h"
#include "abi/td_robot.h"

namespace seamless::abi {
namespace {

constexpr u64 kLogged = 0x400000, kPages = 130;

struct Log {
    u64 words[3] = {};
    [[nodiscard]] bool has(u64 page) const { return words[page / 64] >> page % 64 & 1; }
    [[nodiscard]] u64 count() const
    {
        u64 n = 0;
        for (const u64 w : words)
            n += static_cast<u64>(std::popcount(w));
        return n;
    }
};

class DirtyLog : public testing::Test {
  protected:
    DirtyLog() { vm.add_slot(1, kLogged, memory, KVM_MEM_LOG_DIRTY_PAGES); }

    long get(Log& log, u32 slot = 1)
    {
        kvm_dirty_log args{.slot = slot, .padding = 0, .dirty_bitmap = reinterpret_cast<u64>(log.words)};
        return host.ioctl(vm.vm, KVM_GET_DIRTY_LOG, &args);
    }
    Log read()
    {
        Log log;
        EXPECT_EQ(get(log), 0);
        return log;
    }
    long clear(u64 first, u32 pages, const Log& bits, u32 slot = 1)
    {
        kvm_clear_dirty_log args{.slot = slot,
                                 .num_pages = pages,
                                 .first_page = first,
                                 .dirty_bitmap = reinterpret_cast<u64>(bits.words)};
        return host.ioctl(vm.vm, KVM_CLEAR_DIRTY_LOG, &args);
    }
    void manual(u64 mode)
    {
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
        cap.args[0] = mode;
        EXPECT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), 0);
    }
    void write(u64 page)
    {
        vm.regs.rip = kCode;
        vm.regs.rbx = kLogged + page * kPageSize + 8;
        EXPECT_EQ(vm.start({0x89, 0x03}), KVM_EXIT_HLT); // mov %eax, (%ebx)
    }
    void load(u64 page)
    {
        vm.regs.rip = kCode;
        vm.regs.rbx = kLogged + page * kPageSize + 8;
        EXPECT_EQ(vm.start({0x8b, 0x03}), KVM_EXIT_HLT);
    }

    Host host;
    PlainVm vm{host};
    Memory memory{kPages * kPageSize};
};

TEST_F(DirtyLog, AWriteIsLoggedOnceAndAgainAfterItWasRead)
{
    EXPECT_EQ(read().count(), 0u);
    write(0);
    write(65);
    write(65);
    write(129);
    Log log = read();
    EXPECT_EQ(log.count(), 3u);
    EXPECT_TRUE(log.has(0) && log.has(65) && log.has(129));
    EXPECT_EQ(read().count(), 0u); // reading has cleared it
    load(65);
    EXPECT_EQ(read().count(), 0u); // a page that is mapped is not dirtied by reading
    write(65);                     // the processor may no longer remember that it could write
    log = read();
    EXPECT_EQ(log.count(), 1u);
    EXPECT_TRUE(log.has(65));
}

TEST_F(DirtyLog, WritesThatTheEmulatorMakesAreLogged)
{
    read();
    vm.regs.rsi = kDevice;
    vm.regs.rdi = kLogged + 3 * kPageSize;
    EXPECT_EQ(vm.start({0xa5}), KVM_EXIT_MMIO); // movsd from a device to memory
    vm.answer(0x55);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(memory.get<u32>(3 * kPageSize), 0x55u);
    EXPECT_TRUE(read().has(3));
}

TEST_F(DirtyLog, LoggingMayStartAndStopOnMemoryThatIsMapped)
{
    Memory big(u64{4} << 20); // a large page may map it
    constexpr u64 kBig = 0x800000;
    vm.add_slot(2, kBig, big);
    vm.regs.rbx = kBig + 0x200000;
    EXPECT_EQ(vm.start({0x89, 0x03}), KVM_EXIT_HLT);
    vm.add_slot(2, kBig, big, KVM_MEM_LOG_DIRTY_PAGES);
    vm.regs.rip = kCode;
    EXPECT_EQ(vm.start({0x89, 0x03}), KVM_EXIT_HLT);
    std::vector<u64> words(16);
    kvm_dirty_log args{.slot = 2, .padding = 0, .dirty_bitmap = reinterpret_cast<u64>(words.data())};
    ASSERT_EQ(host.ioctl(vm.vm, KVM_GET_DIRTY_LOG, &args), 0);
    EXPECT_EQ(words[8], 1u); // page 512 and no other
    words[8] = 0;
    EXPECT_EQ(std::count(words.begin(), words.end(), 0u), 16);
    vm.add_slot(2, kBig, big);
    EXPECT_EQ(host.ioctl(vm.vm, KVM_GET_DIRTY_LOG, &args), -ENOENT);
    vm.regs.rip = kCode;
    EXPECT_EQ(vm.start({0x89, 0x03}), KVM_EXIT_HLT);
}

TEST_F(DirtyLog, ManuallyItIsClearedPageByPage)
{
    manual(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
    write(1);
    write(64);
    EXPECT_EQ(read().count(), 2u);
    EXPECT_EQ(read().count(), 2u); // reading clears nothing
    Log bits;
    bits.words[0] = bit(0);
    EXPECT_EQ(clear(64, 64, bits), 0);
    Log log = read();
    EXPECT_EQ(log.count(), 1u);
    EXPECT_TRUE(log.has(1));
    write(64);
    write(1); // still writable, still dirty
    EXPECT_EQ(read().count(), 2u);
    bits.words[0] = ~u64{0};
    EXPECT_EQ(clear(128, 2, bits), 0); // the last word may be short
    EXPECT_EQ(read().count(), 2u);
}

TEST_F(DirtyLog, InitiallyAllMayBeDirty)
{
    manual(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    vm.add_slot(1, kLogged, memory);
    vm.add_slot(1, kLogged, memory, KVM_MEM_LOG_DIRTY_PAGES);
    EXPECT_EQ(read().count(), kPages);
    Log all;
    for (u64& w : all.words)
        w = ~u64{0};
    EXPECT_EQ(clear(0, kPages, all), 0);
    EXPECT_EQ(read().count(), 0u);
    write(129);
    EXPECT_TRUE(read().has(129));
}

TEST_F(DirtyLog, IsRefusedWhereThereIsNone)
{
    Log log;
    EXPECT_EQ(get(log, 0), -ENOENT); // not logged
    EXPECT_EQ(get(log, 5), -ENOENT); // no slot
    EXPECT_EQ(get(log, 32764), -EINVAL);
    EXPECT_EQ(get(log, 1 << 16 | 1), -EINVAL);
    EXPECT_EQ(clear(0, 64, log, 0), -ENOENT);
    EXPECT_EQ(clear(0, 64, log, 32764), -EINVAL);
    EXPECT_EQ(clear(1, 64, log), -EINVAL);  // not a multiple of 64
    EXPECT_EQ(clear(0, 63, log), -EINVAL);  // neither the end
    EXPECT_EQ(clear(0, 131, log), -EINVAL); // beyond the end
    EXPECT_EQ(clear(192, 0, log), -EINVAL);
    EXPECT_EQ(clear(64, 0xffffffff, log), -EINVAL);
    kvm_dirty_log bad{.slot = 1, .padding = 0, .dirty_bitmap = 8};
    EXPECT_EQ(host.ioctl(vm.vm, KVM_GET_DIRTY_LOG, &bad), -EFAULT);
    EXPECT_EQ(host.ioctl(vm.vm, KVM_GET_DIRTY_LOG, u64{8}), -EFAULT);
    EXPECT_EQ(host.ioctl(vm.vm, KVM_CLEAR_DIRTY_LOG, u64{8}), -EFAULT);
    kvm_clear_dirty_log bad_clear{.slot = 1, .num_pages = 64, .first_page = 0, .dirty_bitmap = 8};
    EXPECT_EQ(host.ioctl(vm.vm, KVM_CLEAR_DIRTY_LOG, &bad_clear), -EFAULT);
    kvm_enable_cap cap{};
    cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
    for (const u64 mode : {KVM_DIRTY_LOG_INITIALLY_SET, u64{4}, u64{7}}) {
        cap.args[0] = mode;
        EXPECT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), -EINVAL);
    }
    EXPECT_EQ(host.ioctl(host.sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2}), 3);
}

TEST(TdDirtyLog, SharedMemoryIsLoggedAndPrivateMemoryRefused)
{
    Host host;
    TdRobot td(host);
    Memory logged(kPageSize * 2);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(4, kGpa, logged.bytes, logged.at, KVM_MEM_LOG_DIRTY_PAGES), 0);
    td.store(TdRobot::kSharedView + kGpa + kPageSize, 1);
    u64 words[1] = {};
    kvm_dirty_log args{.slot = 4, .padding = 0, .dirty_bitmap = reinterpret_cast<u64>(words)};
    ASSERT_EQ(host.ioctl(td.vm, KVM_GET_DIRTY_LOG, &args), 0);
    EXPECT_EQ(words[0], 2u);
    td.store(TdRobot::kSharedView + kGpa + kPageSize, 2);
    ASSERT_EQ(host.ioctl(td.vm, KVM_GET_DIRTY_LOG, &args), 0);
    EXPECT_EQ(words[0], 2u); // again, though the guest had the page in its TLB
    args.slot = 3;
    EXPECT_EQ(host.ioctl(td.vm, KVM_GET_DIRTY_LOG, &args), -ENOENT);
    kvm_create_guest_memfd create{.size = kPageSize, .flags = 0, .reserved = {}};
    kvm_userspace_memory_region2 region{};
    region.slot = 5;
    region.flags = KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES;
    region.guest_phys_addr = 0x900000;
    region.memory_size = kPageSize;
    region.userspace_addr = reinterpret_cast<u64>(logged.at);
    region.guest_memfd = static_cast<u32>(host.ioctl(td.vm, KVM_CREATE_GUEST_MEMFD, &create));
    EXPECT_EQ(host.ioctl(td.vm, KVM_SET_USER_MEMORY_REGION2, &region), -EINVAL);
}

} // namespace
} // namespace seamless::abi
