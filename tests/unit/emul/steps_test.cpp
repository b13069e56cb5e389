// SPDX-License-Identifier: Apache-2.0
// The stack, branches, system registers, and the exceptions an emulated instruction raises itself.
#include <gtest/gtest.h>

#include "unit/emul/fake_cpu.h"

namespace seamless {
namespace {

using emul::Emulation;
using fakes::FakeCpu;
using spec::Gpr;
using spec::Seg;
namespace rflags = spec::rflags;

constexpr u64 kDevice = FakeCpu::kDevice, kStack = 0x8000, kCode = FakeCpu::kCode;
using Code = std::initializer_list<u8>;

struct StepCpu : FakeCpu {
    StepCpu()
    {
        (*this)[Gpr::rdi] = kDevice;
        (*this)[Gpr::rsp] = kStack;
    }
    void code32() { segments[static_cast<unsigned>(Seg::cs)].ar = 0xc09b; }
    void user() { segments[static_cast<unsigned>(Seg::ss)].ar |= 3u << 5; }
    void raises(Code code, int vector)
    {
        exception = -1;
        EXPECT_EQ(run(code), Emulation::OK);
        EXPECT_EQ(exception, vector);
        EXPECT_TRUE(emulator.exception_queued());
        EXPECT_EQ(rip_value, kCode);
    }
};

TEST(EmulSteps, JumpsAndCallsGoWhereTheDeviceSays)
{
    StepCpu cpu;
    cpu.put<u64>(kDevice, 0x12345678);
    ASSERT_EQ(cpu.run({0xff, 0x27}), Emulation::OK); // jmp [rdi]
    EXPECT_EQ(cpu.rip_value, 0x12345678u);
    EXPECT_EQ(cpu[Gpr::rsp], kStack);
    ASSERT_EQ(cpu.run({0x66, 0xff, 0x17}), Emulation::OK); // call [rdi]: 66H changes nothing in 64-bit mode
    EXPECT_EQ(cpu.rip_value, 0x12345678u);
    EXPECT_EQ(cpu[Gpr::rsp], kStack - 8);
    EXPECT_EQ(cpu.get<u64>(kStack - 8), kCode + 3);
    cpu.put<u64>(kDevice, u64{1} << 47);
    cpu.raises({0xff, 0x27}, 13);
    cpu.raises({0xff, 0x17}, 13); // and nothing is pushed
    EXPECT_EQ(cpu[Gpr::rsp], kStack - 8);
    EXPECT_EQ(cpu.get<u64>(kStack - 16), 0u);
}

// What was decoded at an address before is used only if the same bytes are there, in the same mode.
TEST(EmulSteps, AnAddressWhereCodeChangesIsDecodedAnew)
{
    StepCpu cpu;
    for (int i = 0; i < 3; ++i) {
        cpu.put<u64>(kDevice, 0x1122334455667788);
        ASSERT_EQ(cpu.run({0x8b, 0x07}), Emulation::OK); // mov eax, [rdi]
        EXPECT_EQ(cpu[Gpr::rax], 0x55667788u);
        ASSERT_EQ(cpu.run({0x8a, 0x0f}), Emulation::OK); // mov cl, [rdi]
        EXPECT_EQ(cpu[Gpr::rcx] & 0xff, 0x88u);
        EXPECT_EQ(cpu.run({0x0f, 0x0b}), Emulation::FAILED);  // ud2
        EXPECT_EQ(cpu.emulator.execute(), Emulation::FAILED); // and nothing older in its place
    }
    ASSERT_EQ(cpu.run({0x48, 0x8b, 0x07}), Emulation::OK); // mov rax, [rdi]
    EXPECT_EQ(cpu[Gpr::rax], 0x1122334455667788u);
    cpu.code32();
    ASSERT_EQ(cpu.run({0x48, 0x8b, 0x07}), Emulation::OK); // dec eax
    EXPECT_EQ(cpu[Gpr::rax], 0x55667787u);
    EXPECT_EQ(cpu.rip_value, kCode + 1);
}

TEST(EmulSteps, AStackInADeviceWorks)
{
    StepCpu cpu;
    cpu[Gpr::rsp] = kDevice + 0x20;
    ASSERT_EQ(cpu.run({0xe8, 0x10, 0, 0, 0}), Emulation::OK); // call +16
    EXPECT_EQ(cpu.rip_value, kCode + 5 + 16);
    EXPECT_EQ(cpu.get<u64>(kDevice + 0x18), kCode + 5);
    ASSERT_EQ(cpu.run({0xc2, 8, 0}), Emulation::OK); // ret 8
    EXPECT_EQ(cpu.rip_value, kCode + 5);
    EXPECT_EQ(cpu[Gpr::rsp], kDevice + 0x28);
    cpu[Gpr::rbp] = 0x1122;
    ASSERT_EQ(cpu.run({0xc8, 0x10, 0, 0}), Emulation::OK); // enter 16, 0
    EXPECT_EQ(cpu[Gpr::rbp], kDevice + 0x20);
    EXPECT_EQ(cpu[Gpr::rsp], kDevice + 0x10);
    ASSERT_EQ(cpu.run({0xc9}), Emulation::OK); // leave
    EXPECT_EQ(cpu[Gpr::rbp], 0x1122u);
    EXPECT_EQ(cpu[Gpr::rsp], kDevice + 0x28);
    ASSERT_EQ(cpu.run({0x6a, 0x80}), Emulation::OK); // push -128
    EXPECT_EQ(cpu.get<u64>(kDevice + 0x20), ~u64{0x7f});
    ASSERT_EQ(cpu.run({0x5c}), Emulation::OK); // pop rsp: the value, not what lies above it
    EXPECT_EQ(cpu[Gpr::rsp], ~u64{0x7f});
}

TEST(EmulSteps, ProtectedModeHasSmallerStacksAndAllRegistersAtOnce)
{
    StepCpu cpu;
    cpu.code32();
    cpu[Gpr::rax] = 0xa;
    cpu[Gpr::rbp] = 0xb;
    cpu[Gpr::rsp] = kDevice + 0x40;
    ASSERT_EQ(cpu.run({0x60}), Emulation::OK); // pushad
    EXPECT_EQ(cpu[Gpr::rsp], kDevice + 0x20);
    EXPECT_EQ(cpu.get<u32>(kDevice + 0x3c), 0xau);
    EXPECT_EQ(cpu.get<u32>(kDevice + 0x2c), kDevice + 0x40); // ESP before
    cpu[Gpr::rax] = cpu[Gpr::rbp] = 0;
    ASSERT_EQ(cpu.run({0x61}), Emulation::OK); // popad
    EXPECT_EQ(cpu[Gpr::rax], 0xau);
    EXPECT_EQ(cpu[Gpr::rbp], 0xbu);
    EXPECT_EQ(cpu[Gpr::rsp], kDevice + 0x40);
    cpu.segments[static_cast<unsigned>(Seg::ss)].ar &= ~spec::segment_ar::DB;
    cpu[Gpr::rsp] = 0x70002;
    ASSERT_EQ(cpu.run({0x66, 0xff, 0x37}), Emulation::OK); // push word [edi]: SP wraps within 16 bits
    EXPECT_EQ(cpu[Gpr::rsp], 0x70000u);
    cpu.put<u32>(kDevice, 0x12345);
    ASSERT_EQ(cpu.run({0x66, 0xff, 0x27}), Emulation::OK); // jmp word [edi]
    EXPECT_EQ(cpu.rip_value, 0x2345u);
}

TEST(EmulSteps, FlagsComeFromTheStackAsFarAsPrivilegeAllows)
{
    StepCpu cpu;
    cpu.flags = rflags::FIXED1 | rflags::IF | rflags::RF | rflags::CF;
    ASSERT_EQ(cpu.run({0x9c}), Emulation::OK); // pushfq
    EXPECT_EQ(cpu.get<u64>(kStack - 8), rflags::FIXED1 | rflags::IF | rflags::CF);
    cpu.put<u64>(kStack - 8, ~u64{0});
    ASSERT_EQ(cpu.run({0x9d}), Emulation::OK); // popfq
    constexpr u64 kUser =
        rflags::kArithmetic | rflags::TF | rflags::DF | rflags::NT | rflags::AC | rflags::ID;
    EXPECT_EQ(cpu.flags, kUser | rflags::IF | rflags::IOPL | rflags::FIXED1);
    cpu.user();
    cpu.flags = rflags::FIXED1;
    cpu.put<u64>(kStack, ~u64{0});
    ASSERT_EQ(cpu.run({0x9d}), Emulation::OK); // IOPL 0, CPL 3: neither IF nor IOPL
    EXPECT_EQ(cpu.flags, kUser | rflags::FIXED1);
    cpu.flags = rflags::FIXED1 | rflags::VM | rflags::IF; // virtual-8086 mode
    cpu.segments[static_cast<unsigned>(Seg::cs)].ar = 0xf3;
    cpu[Gpr::rsp] = kStack;
    cpu.raises({0x9d}, 13);
    cpu.flags |= rflags::IOPL;
    cpu.put<u16>(kStack, 0);
    ASSERT_EQ(cpu.run({0x9d}), Emulation::OK);
    EXPECT_EQ(cpu.flags, rflags::FIXED1 | rflags::VM | rflags::IOPL);
}

TEST(EmulSteps, QuotientsThatDoNotFitAreDivideErrors)
{
    const struct {
        Code code;
        u64 rdx, rax, divisor;
    } cases[] = {
        {{0xf7, 0x37}, 0, 5, 0},                              // by zero
        {{0xf7, 0x37}, 1, 0, 1},                              // 2^32
        {{0x48, 0xf7, 0x37}, 7, 0, 7},                        // 2^64
        {{0xf6, 0x37}, 0, 0x100, 1},                          // AX
        {{0xf7, 0x3f}, 0, 0x80000000, 1},                     // signed: 2^31
        {{0x48, 0xf7, 0x3f}, u64{1} << 63, 0, ~u64{0}},       // -2^127 by -1
        {{0x48, 0xf7, 0x3f}, ~u64{0}, u64{1} << 63, ~u64{0}}, // -2^63 by -1
        {{0xf6, 0x3f}, 0, 0x80, 1},                           // 128
        {{0x66, 0xf7, 0x3f}, 0xffff, 0x7fff, 1},              // -32769
    };
    for (const auto& c : cases) {
        StepCpu cpu;
        cpu[Gpr::rdx] = c.rdx;
        cpu[Gpr::rax] = c.rax;
        cpu.put<u64>(kDevice, c.divisor);
        cpu.raises(c.code, 0);
        EXPECT_EQ(cpu[Gpr::rax], c.rax);
    }
    StepCpu cpu; // the smallest quotient fits
    cpu[Gpr::rdx] = ~u64{0};
    cpu[Gpr::rax] = u64{1} << 63;
    cpu.put<u64>(kDevice, 1);
    ASSERT_EQ(cpu.run({0x48, 0xf7, 0x3f}), Emulation::OK);
    EXPECT_EQ(cpu[Gpr::rax], u64{1} << 63);
    EXPECT_EQ(cpu[Gpr::rdx], 0u);
}

TEST(EmulSteps, VectorMovesFaultAsTheyWouldOutsideTheEmulator)
{
    StepCpu cpu;
    cpu[Gpr::rdi] = kDevice + 8;
    cpu.raises({0x0f, 0x28, 0x07}, 13);       // movaps, misaligned
    cpu.raises({0x66, 0x0f, 0xe7, 0x07}, 13); // movntdq
    EXPECT_TRUE(cpu.log.empty());
    EXPECT_EQ(cpu.run({0x0f, 0x10, 0x07}), Emulation::OK); // movups
    cpu.exception = -1;
    EXPECT_EQ(cpu.run({0x0f, 0x6f, 0x07}), Emulation::OK); // movq mm0
    EXPECT_EQ(cpu.exception, -1);
    cpu.fpu[2] = 0x80; // an x87 exception waits
    cpu.raises({0x0f, 0x6f, 0x07}, 16);
    cpu.cr4_value &= ~spec::cr4::OSFXSR;
    cpu.raises({0x0f, 0x10, 0x07}, 6);
    cpu.fpu[2] = 0;
    cpu.cr0_value |= spec::cr0::TS;
    cpu.raises({0x0f, 0x6f, 0x07}, 7);
    cpu.raises({0xd9, 0x3f}, 7); // fnstcw
    cpu.cr0_value |= spec::cr0::EM;
    cpu.raises({0x0f, 0x6f, 0x07}, 6);
    cpu.raises({0xdd, 0x3f}, 7); // fnstsw
}

TEST(EmulSteps, BitCountsIgnoreTheirPrefixAsInKvm)
{
    StepCpu cpu;
    cpu.put<u32>(kDevice, 0x00010000);
    cpu[Gpr::rax] = 99;
    ASSERT_EQ(cpu.run({0xf3, 0x0f, 0xbd, 0x07}), Emulation::OK); // lzcnt is BSR
    EXPECT_EQ(cpu[Gpr::rax], 16u);
    cpu.put<u32>(kDevice, 0);
    ASSERT_EQ(cpu.run({0xf3, 0x0f, 0xbc, 0x07}), Emulation::OK); // tzcnt of nothing is BSF
    EXPECT_EQ(cpu[Gpr::rax], 16u);
    EXPECT_NE(cpu.flags & rflags::ZF, 0u);
}

TEST(EmulSteps, SystemRegistersAreStoredAndLoaded)
{
    StepCpu cpu;
    cpu.segments[static_cast<unsigned>(Seg::ldtr)].selector = 0x28;
    cpu.segments[static_cast<unsigned>(Seg::tr)].selector = 0x30;
    cpu.segments[static_cast<unsigned>(Seg::fs)].selector = 0x33;
    const struct {
        Code code;
        u16 stored;
    } cases[] = {
        {{0x0f, 0x00, 0x07}, 0x28}, // sldt
        {{0x0f, 0x00, 0x0f}, 0x30}, // str
        {{0x0f, 0x01, 0x27}, 0x31}, // smsw
        {{0x48, 0x8c, 0x27}, 0x33}, // mov [rdi], fs
    };
    for (const auto& c : cases) {
        cpu.put<u64>(kDevice, ~u64{0});
        ASSERT_EQ(cpu.run(c.code), Emulation::OK);
        EXPECT_EQ(cpu.get<u64>(kDevice), ~u64{0xffff} | c.stored);
    }
    cpu.put<u16>(kDevice, 0xfffe);
    ASSERT_EQ(cpu.run({0x0f, 0x01, 0x37}), Emulation::OK); // lmsw: MP, EM, TS; PE stays
    EXPECT_EQ(cpu.cr0_value, 0x8000003fu);
    cpu.put<u16>(kDevice, 0);
    ASSERT_EQ(cpu.run({0x0f, 0x01, 0x37}), Emulation::OK);
    EXPECT_EQ(cpu.cr0_value, 0x80000031u);
    cpu.user();
    cpu.raises({0x0f, 0x01, 0x37}, 13);
    ASSERT_EQ(cpu.run({0x0f, 0x01, 0x27}), Emulation::OK); // smsw may
    cpu.cr4_value |= spec::cr4::UMIP;
    for (const auto& c : cases)
        if (c.stored != 0x33)
            cpu.raises(c.code, 13);
    cpu.flags |= rflags::VM;
    cpu.segments[static_cast<unsigned>(Seg::cs)].ar = 0xf3;
    cpu.raises({0x67, 0x0f, 0x00, 0x07}, 6); // sldt in virtual-8086 mode
}

TEST(EmulSteps, PageFaultsOfWhatIsWrittenNextAreWrites)
{
    StepCpu cpu;
    cpu[Gpr::rdi] = FakeCpu::kMemory;
    cpu.raises({0x01, 0x07}, 14); // add [rdi], eax
    EXPECT_EQ(cpu.exception_error, spec::pferr::W);
    cpu.raises({0x03, 0x07}, 14); // add eax, [rdi]
    EXPECT_EQ(cpu.exception_error, 0u);
    cpu.raises({0x39, 0x07}, 14); // cmp
    EXPECT_EQ(cpu.exception_error, 0u);
    cpu.raises({0x8f, 0x07}, 14); // pop: the stack was read, RSP stays
    EXPECT_EQ(cpu.exception_error, spec::pferr::W);
    EXPECT_EQ(cpu[Gpr::rsp], kStack);
}

TEST(EmulSteps, TranslationReadsOneByte)
{
    StepCpu cpu;
    cpu[Gpr::rbx] = kDevice;
    cpu[Gpr::rax] = 0x1105;
    cpu.put<u8>(kDevice + 5, 0x77);
    ASSERT_EQ(cpu.run({0xd7}), Emulation::OK); // xlat
    EXPECT_EQ(cpu[Gpr::rax], 0x1177u);
    EXPECT_EQ(cpu.log, std::vector<std::string>{"ask 5"});
}

} // namespace
} // namespace seamless
