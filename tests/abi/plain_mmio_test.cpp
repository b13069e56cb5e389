// SPDX-License-Identifier: Apache-2.0
// MMIO of plain VMs: the exits that each kind of access makes, and what the guest finds afterwards.
#include <sys/eventfd.h>
#include <unistd.h>

#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

struct PlainMmio : testing::Test {
    Host host;
    PlainVm vm{host};

    void map_memory_and_device()
    {
        // 32-bit paging with 4 MiB pages: memory and the device identity-mapped, nothing else.
        vm.memory.put<u32>(0xc000, 0x83);
        vm.memory.put<u32>(0xc000 + 4 * (kDevice >> 22), static_cast<u32>(kDevice & 0xffc00000) | 0x83);
        vm.sregs.cr3 = 0xc000;
        vm.sregs.cr4 |= spec::cr4::PSE;
        vm.sregs.cr0 |= spec::cr0::PG | spec::cr0::WP;
    }
    void ended_in_handler(unsigned vector)
    {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
        EXPECT_EQ(vm.regs.rip, kHandlers + 16 * vector + 1);
    }
};

TEST_F(PlainMmio, FirstTouchIsAViolationTheSecondAMisconfiguration)
{
    vm.regs.rdi = kDevice + 4;
    vm.regs.rax = 0x11223344;
    vm.start({0x89, 0x07, 0x8b, 0x1f}); // mov [edi], eax; mov ebx, [edi]
    vm.expect_mmio(true, kDevice + 4, 4);
    EXPECT_EQ(vm.data(), 0x11223344u);
    EXPECT_EQ(vm.regs.rip, kCode + 2); // retired with the exit
    vm.go_on();
    vm.expect_mmio(false, kDevice + 4, 4);
    EXPECT_EQ(vm.regs.rip, kCode + 2); // not yet
    vm.answer(0xffffffffcafef00d);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rbx, 0xcafef00du);
    EXPECT_EQ(host.trace.exits("EPT_MISCONFIG"), 1u);
    EXPECT_EQ(host.trace.of(Event::mark_mmio_spte).size(), 1u);
    EXPECT_EQ(host.trace.of(Event::kvm_emulate_insn).size(), 2u);
    const auto mmio = host.trace.of(Event::kvm_mmio);
    ASSERT_EQ(mmio.size(), 3u);
    EXPECT_STREQ(mmio[0].values[0].text, "write");
    EXPECT_STREQ(mmio[1].values[0].text, "unsatisfied-read");
    EXPECT_STREQ(mmio[2].values[0].text, "read");
    EXPECT_EQ(mmio[2].values[3].number, 0xcafef00du);
}

TEST_F(PlainMmio, ReadModifyWriteIsAReadExitThenAWriteExit)
{
    vm.regs.rdi = kDevice;
    vm.start({0xf0, 0x83, 0x07, 0x01}); // lock add dword [edi], 1
    vm.expect_mmio(false, kDevice, 4);
    vm.answer(0xffffffff);
    vm.go_on();
    vm.expect_mmio(true, kDevice, 4);
    EXPECT_EQ(vm.data(), 0u);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rflags & 0x8d5, 0x55u); // CF PF AF ZF
}

TEST_F(PlainMmio, AnAccessOverTwoPagesIsTwoFragments)
{
    vm.regs.rdi = kDevice + 0xffe;
    vm.regs.rax = 0x44332211;
    vm.start({0x89, 0x07, 0x8b, 0x1f});
    vm.expect_mmio(true, kDevice + 0xffe, 2);
    EXPECT_EQ(vm.data(), 0x2211u);
    vm.go_on();
    vm.expect_mmio(true, kDevice + 0x1000, 2);
    EXPECT_EQ(vm.data(), 0x4433u);
    vm.go_on();
    vm.expect_mmio(false, kDevice + 0xffe, 2);
    vm.answer(0xbbaa);
    vm.go_on();
    vm.expect_mmio(false, kDevice + 0x1000, 2);
    vm.answer(0xddcc);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rbx, 0xddccbbaau);
}

TEST_F(PlainMmio, TheHalfThatIsMemoryGoesToMemory)
{
    vm.regs.rdi = kRam - 2;
    vm.regs.rax = 0x44332211;
    vm.start({0x89, 0x07, 0x8b, 0x1f});
    vm.expect_mmio(true, kRam, 2);
    EXPECT_EQ(vm.data(), 0x4433u);
    EXPECT_EQ(vm.memory.get<u16>(kRam - 2), 0x2211u);
    vm.go_on();
    vm.expect_mmio(false, kRam, 2);
    vm.answer(0x9988);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rbx, 0x99882211u);
}

TEST_F(PlainMmio, DevicesOfKvmNeedNoExit)
{
    const int fd = eventfd(0, EFD_NONBLOCK);
    kvm_ioeventfd args{};
    args.addr = kDevice + 8;
    args.len = 4;
    args.datamatch = 7;
    args.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
    args.fd = fd;
    ASSERT_EQ(host.ioctl(vm.vm, KVM_IOEVENTFD, &args), 0);
    vm.regs.rdi = kDevice + 8;
    vm.regs.rax = 7;
    vm.start({0x89, 0x07, 0x89, 0x07, 0x40, 0x89, 0x07}); // twice 7, then 8
    vm.expect_mmio(true, kDevice + 8, 4);
    EXPECT_EQ(vm.data(), 8u);
    u64 count = 0;
    EXPECT_EQ(::read(fd, &count, sizeof count), 8);
    EXPECT_EQ(count, 2u);
    close(fd);
}

TEST_F(PlainMmio, RepeatedStoresExitForEachElement)
{
    vm.regs.rdi = kDevice;
    vm.regs.rcx = 3;
    vm.regs.rax = 0x5555;
    vm.start({0xf3, 0xab}); // rep stosd
    for (u64 i = 0; i < 3; ++i) {
        vm.expect_mmio(true, kDevice + 4 * i, 4);
        EXPECT_EQ(vm.regs.rcx, 2 - i);
        EXPECT_EQ(vm.regs.rip, kCode); // as in KVM, it retires when it is executed with a count of zero
        vm.go_on();
    }
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rdi, kDevice + 12);
}

TEST_F(PlainMmio, RepeatedMovesFromADeviceFillMemory)
{
    vm.regs.rsi = kDevice;
    vm.regs.rdi = 0x4000;
    vm.regs.rcx = 2;
    vm.start({0xf3, 0xa5}); // rep movsd
    vm.expect_mmio(false, kDevice, 4);
    vm.answer(0x11);
    vm.go_on();
    vm.expect_mmio(false, kDevice + 4, 4);
    vm.answer(0x22);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.memory.get<u64>(0x4000), 0x0000002200000011u);
}

TEST_F(PlainMmio, AMoveFromDeviceToDeviceReadsThenWrites)
{
    vm.regs.rsi = kDevice;
    vm.regs.rdi = kDevice + 0x2010;
    vm.start({0xa4}); // movsb
    vm.expect_mmio(false, kDevice, 1);
    vm.answer(0x77);
    vm.go_on();
    vm.expect_mmio(true, kDevice + 0x2010, 1);
    EXPECT_EQ(vm.data(), 0x77u);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
}

TEST_F(PlainMmio, StringPortIoGoesThroughTheEmulator)
{
    vm.memory.put<u16>(0x4000, 0x4241);
    vm.regs.rsi = 0x4000;
    vm.regs.rdi = 0x5000;
    vm.regs.rdx = 0x3f8;
    vm.regs.rcx = 2;
    u8* const port = reinterpret_cast<u8*>(vm.run) + kPageSize * KVM_PIO_PAGE_OFFSET;
    vm.start({0xf3, 0x6e, 0x66, 0x6d}); // rep outsb; insw
    for (const u8 letter : {u8{'A'}, u8{'B'}}) {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
        EXPECT_EQ(vm.run->io.direction, KVM_EXIT_IO_OUT);
        EXPECT_EQ(vm.run->io.port, 0x3f8);
        EXPECT_EQ(vm.run->io.count, 1u);
        EXPECT_EQ(*port, letter);
        vm.go_on();
    }
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(vm.run->io.direction, KVM_EXIT_IO_IN);
    EXPECT_EQ(vm.run->io.size, 2);
    port[0] = 0x34;
    port[1] = 0x12;
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(vm.memory.get<u16>(0x5000), 0x1234u);
    EXPECT_EQ(vm.regs.rdi, 0x5002u);
}

TEST_F(PlainMmio, AWriteToReadOnlyMemoryIsMmio)
{
    Memory rom(kPageSize);
    rom.put<u32>(0, 0x600df00d);
    vm.add_slot(1, 0x20000, rom, KVM_MEM_READONLY);
    vm.regs.rdi = 0x20000;
    vm.regs.rax = 1;
    vm.start({0x8b, 0x1f, 0x89, 0x07}); // mov ebx, [edi]; mov [edi], eax
    EXPECT_EQ(vm.regs.rbx, 0x600df00du);
    vm.expect_mmio(true, 0x20000, 4);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(rom.get<u32>(0), 0x600df00du);
}

TEST_F(PlainMmio, WhatCannotBeEmulatedIsReportedWithItsBytes)
{
    vm.regs.rdi = kDevice;
    vm.sregs.cr4 |= spec::cr4::OSFXSR;
    EXPECT_EQ(vm.start({0x0f, 0x58, 0x07}), KVM_EXIT_INTERNAL_ERROR); // addps xmm0, [edi]
    EXPECT_EQ(vm.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    EXPECT_EQ(vm.run->internal.ndata, 8u);
    EXPECT_EQ(vm.run->emulation_failure.flags, KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
    EXPECT_EQ(vm.run->emulation_failure.insn_size, 3);
    const u8 expected[] = {0x0f, 0x58, 0x07, 0x90};
    EXPECT_EQ(std::memcmp(vm.run->emulation_failure.insn_bytes, expected, sizeof expected), 0);
    EXPECT_EQ(vm.run->internal.data[3], static_cast<u64>(spec::ExitReason::EPT_VIOLATION));
    const auto insn = host.trace.of(Event::kvm_emulate_insn);
    ASSERT_EQ(insn.size(), 1u);
    EXPECT_EQ(insn[0].values[2].number, 1u);
    vm.go_on(); // and the guest gets #UD
    ended_in_handler(6);
}

TEST_F(PlainMmio, AUserProgramGetsUndefinedOpcodeUnlessTheVmmWantsToKnow)
{
    for (const bool wants : {false, true}) {
        if (wants) {
            kvm_enable_cap cap{};
            cap.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE;
            cap.args[0] = 1;
            ASSERT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), 0);
        }
        vm.sregs.cs = PlainVm::flat(11, 11, 3);
        vm.sregs.ss = PlainVm::flat(19, 3, 3);
        vm.sregs.cr4 |= spec::cr4::OSFXSR;
        vm.regs = {.rdi = kDevice, .rsp = kStack, .rip = kCode, .rflags = 2};
        // No TSS: the #UD cannot be delivered from user mode, and the vCPU shuts down.
        EXPECT_EQ(vm.start({0x0f, 0x58, 0x07}), wants ? KVM_EXIT_INTERNAL_ERROR : KVM_EXIT_SHUTDOWN);
    }
}

TEST_F(PlainMmio, CodeInADeviceCannotBeEmulated)
{
    vm.regs.rdi = kDevice;
    EXPECT_EQ(vm.start({0xff, 0xe7}), KVM_EXIT_INTERNAL_ERROR); // jmp edi
    EXPECT_EQ(vm.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    EXPECT_EQ(vm.run->internal.ndata, 6u); // no bytes
    EXPECT_EQ(vm.run->internal.data[0], 0u);
}

TEST_F(PlainMmio, APageFaultOfTheOtherOperandReachesTheGuest)
{
    map_memory_and_device();
    vm.regs.rsi = kDevice;
    vm.regs.rdi = 0x800000;
    vm.start({0xa4}); // movsb to where nothing is mapped
    vm.expect_mmio(false, kDevice, 1);
    vm.go_on();
    ended_in_handler(14);
    EXPECT_EQ(vm.regs.rsi, kDevice);                // the instruction did not complete
    EXPECT_EQ(vm.memory.get<u32>(vm.regs.rsp), 2u); // a write to a page that is not present
}

TEST_F(PlainMmio, AnInjectedPageFaultKeepsCr2)
{
    map_memory_and_device();
    vm.regs.rsi = kDevice;
    vm.regs.rdi = 0x800000;
    vm.start({0xa4});
    vm.go_on();
    ended_in_handler(14);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_GET_SREGS, &vm.sregs), 0);
    EXPECT_EQ(vm.sregs.cr2, 0x800000u);
}

TEST_F(PlainMmio, SingleStepTrapsAfterAnAccessThatKvmServed)
{
    const int fd = eventfd(0, EFD_NONBLOCK);
    kvm_ioeventfd args{};
    args.addr = kDevice;
    args.len = 4;
    args.fd = fd;
    ASSERT_EQ(host.ioctl(vm.vm, KVM_IOEVENTFD, &args), 0);
    vm.regs.rdi = kDevice;
    vm.regs.rflags = 2 | spec::rflags::TF;
    vm.start({0x89, 0x07, 0x90, 0x90});
    ended_in_handler(1);
    EXPECT_EQ(vm.memory.get<u32>(vm.regs.rsp), kCode + 2);
    close(fd);
}

TEST_F(PlainMmio, SingleStepLosesATrapWhereUserSpaceServes) // as KVM does
{
    vm.regs.rdi = kDevice;
    vm.regs.rflags = 2 | spec::rflags::TF;
    vm.start({0x89, 0x07, 0x90, 0x90});
    vm.expect_mmio(true, kDevice, 4);
    vm.go_on();
    ended_in_handler(1);
    EXPECT_EQ(vm.memory.get<u32>(vm.regs.rsp), kCode + 3); // after the NOP
}

TEST_F(PlainMmio, ARegisterAnswerIsWrittenEvenIfTheVmmLeavesAtOnce)
{
    vm.regs.rdi = kDevice;
    vm.start({0x8b, 0x1f});
    vm.expect_mmio(false, kDevice, 4);
    vm.answer(0x1234);
    vm.run->immediate_exit = 1;
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EINTR);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_GET_REGS, &vm.regs), 0);
    EXPECT_EQ(vm.regs.rbx, 0x1234u);
    EXPECT_EQ(vm.regs.rip, kCode + 2);
}

} // namespace
} // namespace seamless::abi
