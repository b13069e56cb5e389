// SPDX-License-Identifier: Apache-2.0
// Which bytes KVM emulates: those that the guest's tables, EPT and memslots lead to at that moment, however
// often it has fetched from the page before. Each test changes one of them while a read waits in the VMM.
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

constexpr u64 kDirectory = 0xc000, kTable = 0xd000, kOtherDirectory = 0xe000, kOtherTable = 0x3000,
              kOtherCode = 0x2000;

struct PlainFetch : testing::Test {
    Host host;
    PlainVm vm{host};

    void SetUp() override
    {
        map(kDirectory, kTable);
        map(kOtherDirectory, kOtherTable);
        vm.sregs.cr3 = kDirectory;
        vm.sregs.cr4 |= spec::cr4::PSE;
        vm.sregs.cr0 |= spec::cr0::PG | spec::cr0::WP;
        vm.regs.rdi = kDevice;
        // Behind the first read, this page goes on with MOV ECX, [EDI], the other with MOV EDX, [EDI].
        second_read(vm.memory, kOtherCode, 0x17);
    }
    // 32-bit paging: memory page by page, the device by a large one.
    void map(u64 directory, u64 table)
    {
        vm.memory.put<u32>(directory, static_cast<u32>(table | 3));
        vm.memory.put<u32>(directory + 4 * (kDevice >> 22), static_cast<u32>(kDevice & 0xffc00000) | 0x83);
        for (u64 page = 0; page < kRam / kPageSize; ++page)
            vm.memory.put<u32>(table + 4 * page, static_cast<u32>(page << kPageShift | 3));
    }
    static void second_read(Memory& memory, u64 at, u8 operands)
    {
        const u8 code[] = {0x8b, operands, 0xf4};
        std::memcpy(memory.at + at + 2, code, sizeof code);
    }
    void to_the_first_read()
    {
        vm.start({0x8b, 0x1f, 0x8b, 0x0f}); // mov ebx, [edi]; mov ecx, [edi]
        vm.expect_mmio(false, kDevice, 4);
        vm.answer(1);
    }
    // What the processor remembers of the old state goes; KVM has to see by itself.
    void set_sregs() { EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_SREGS, &vm.sregs), 0); }
    // The second read, and which register it filled.
    void expect_second_read(u64 kvm_regs::*filled)
    {
        vm.go_on();
        vm.expect_mmio(false, kDevice, 4);
        vm.answer(2);
        EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
        EXPECT_EQ(vm.regs.rbx, 1u);
        EXPECT_EQ(vm.regs.*filled, 2u);
    }
};

TEST_F(PlainFetch, IsTheSameWhileNothingChanges)
{
    to_the_first_read();
    expect_second_read(&kvm_regs::rcx);
}

TEST_F(PlainFetch, FollowsBytesThatChange)
{
    to_the_first_read();
    second_read(vm.memory, kCode, 0x17);
    expect_second_read(&kvm_regs::rdx);
}

TEST_F(PlainFetch, FollowsAnEntryThatLeadsElsewhere)
{
    to_the_first_read();
    vm.memory.put<u32>(kTable + 4 * (kCode >> kPageShift), kOtherCode | 3);
    set_sregs();
    expect_second_read(&kvm_regs::rdx);
}

TEST_F(PlainFetch, FollowsAnUpperEntryThatLeadsElsewhere)
{
    to_the_first_read();
    vm.memory.put<u32>(kOtherTable + 4 * (kCode >> kPageShift), kOtherCode | 3);
    vm.memory.put<u32>(kDirectory, kOtherTable | 3);
    set_sregs();
    expect_second_read(&kvm_regs::rdx);
}

TEST_F(PlainFetch, FollowsCr3)
{
    to_the_first_read();
    vm.memory.put<u32>(kOtherTable + 4 * (kCode >> kPageShift), kOtherCode | 3);
    vm.sregs.cr3 = kOtherDirectory;
    set_sregs();
    expect_second_read(&kvm_regs::rdx);
}

TEST_F(PlainFetch, FollowsAMemslotThatIsReplaced)
{
    Memory other(kRam);
    to_the_first_read();
    std::memcpy(other.at, vm.memory.at, kRam);
    second_read(other, kCode, 0x17);
    kvm_userspace_memory_region gone{
        .slot = 0, .flags = 0, .guest_phys_addr = 0, .memory_size = 0, .userspace_addr = 0};
    EXPECT_EQ(host.ioctl(vm.vm, KVM_SET_USER_MEMORY_REGION, &gone), 0);
    vm.add_slot(0, 0, other);
    expect_second_read(&kvm_regs::rdx);
}

TEST_F(PlainFetch, FaultsWhereTheEntryForbidsItNow)
{
    to_the_first_read();
    vm.memory.put<u32>(kTable + 4 * (kCode >> kPageShift), 0);
    set_sregs();
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rip, kHandlers + 16 * 14 + 1); // #PF
    EXPECT_EQ(vm.regs.rbx, 1u);
}

} // namespace
} // namespace seamless::abi
