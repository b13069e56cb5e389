// SPDX-License-Identifier: Apache-2.0
// Arithmetic on a device's register, string instructions, and the phases: what is read once, what retires
// when.
#include <gtest/gtest.h>

#include "unit/emul/fake_cpu.h"

namespace seamless {
namespace {

using emul::Emulation;
using emul::InterceptStage;
using fakes::FakeCpu;
using spec::Gpr;
namespace rflags = spec::rflags;

constexpr u64 kDevice = FakeCpu::kDevice;
using Log = std::vector<std::string>;

struct Arithmetic {
    std::initializer_list<u8> code;
    u32 memory, rax; // before
    u32 memory_after, rax_after;
    u64 flags; // after, of those the instruction defines
    u64 defined;
};

TEST(EmulOperations, ArithmeticChangesMemoryRegistersAndFlags)
{
    using namespace rflags;
    constexpr u64 kAll = kArithmetic, kLogic = kArithmetic & ~AF;
    const Arithmetic cases[] = {
        {{0x01, 0x07}, 0xffffffff, 1, 0, 1, CF | ZF | AF | PF, kAll},                   // add [rdi], eax
        {{0x03, 0x07}, 0x7fffffff, 1, 0x7fffffff, 0x80000000, OF | SF | AF | PF, kAll}, // add eax, [rdi]
        {{0x29, 0x07}, 1, 2, 0xffffffff, 2, CF | SF | AF | PF, kAll},                   // sub
        {{0x83, 0x07, 0xff}, 5, 0, 4, 0, CF | AF, kAll},                                // add imm8
        {{0x21, 0x07}, 0xf0, 0x3c, 0x30, 0x3c, PF, kLogic},                             // and
        {{0x09, 0x07}, 0x80000000, 1, 0x80000001, 1, SF, kLogic},                       // or
        {{0x31, 0x07}, 5, 5, 0, 5, ZF | PF, kLogic},                                    // xor
        {{0x39, 0x07}, 5, 6, 5, 6, CF | SF | AF | PF, kAll},                            // cmp [rdi], eax
        {{0x3b, 0x07}, 5, 6, 5, 6, 0, kAll},                                            // cmp eax, [rdi]
        {{0x85, 0x07}, 1, 2, 1, 2, ZF | PF, kLogic},                                    // test
        {{0xf6, 0x07, 0x80}, 0x80, 0, 0x80, 0, SF, kLogic},                             // test byte, imm
        {{0x87, 0x07}, 1, 2, 2, 1, 0, 0},                                               // xchg
        {{0x0f, 0xc1, 0x07}, 7, 3, 10, 7, PF, kAll},                                    // xadd
        {{0x0f, 0xb1, 0x0f}, 7, 7, 9, 7, ZF | PF, kAll},           // cmpxchg [rdi], ecx: equal
        {{0x0f, 0xb1, 0x0f}, 8, 7, 8, 8, CF | SF | AF | PF, kAll}, // and not
        {{0xf0, 0x01, 0x07}, 1, 1, 2, 1, 0, kAll},                 // lock add
        {{0xff, 0x07}, 0x7fffffff, 0, 0x80000000, 0, OF | SF | AF | PF, kAll & ~CF}, // inc
        {{0xff, 0x0f}, 1, 0, 0, 0, ZF | PF, kAll & ~CF},                             // dec
        {{0xf7, 0x1f}, 1, 0, 0xffffffff, 0, CF | SF | AF | PF, kAll},                // neg
        {{0xd1, 0x27}, 0x80000001, 0, 2, 0, CF | OF, kLogic},                        // shl 1
        {{0xc1, 0x2f, 4}, 0x123, 0, 0x12, 0, PF, kLogic & ~OF},                      // shr 4
        {{0x0f, 0x44, 0x07}, 9, 3, 9, 3, 0, 0},                                      // cmovz: not zero
    };
    for (const Arithmetic& c : cases) {
        for (const u64 before : {u64{0}, rflags::kArithmetic & ~rflags::ZF}) {
            FakeCpu cpu;
            cpu.put<u32>(kDevice, c.memory);
            cpu.put<u32>(kDevice + 4, 0x77777777);
            cpu[Gpr::rdi] = kDevice;
            cpu[Gpr::rax] = c.rax;
            cpu[Gpr::rcx] = 9;
            cpu.flags = before | 2 | rflags::IF;
            ASSERT_EQ(cpu.run(c.code), Emulation::OK);
            EXPECT_EQ(cpu.get<u32>(kDevice), c.memory_after);
            EXPECT_EQ(cpu.get<u32>(kDevice + 4), 0x77777777u);
            EXPECT_EQ(cpu[Gpr::rax], c.rax_after);
            EXPECT_EQ(cpu.flags & c.defined, c.flags);
            EXPECT_EQ(cpu.flags & ~rflags::kArithmetic, rflags::FIXED1 | rflags::IF);
            if (c.defined == 0) {
                EXPECT_EQ(cpu.flags & rflags::kArithmetic, before);
            }
        }
    }
}

TEST(EmulOperations, CarryAndOverflowGoInAsTheyAre)
{
    for (const u64 carry : {u64{0}, rflags::CF}) {
        FakeCpu cpu;
        cpu.put<u32>(kDevice, 5);
        cpu[Gpr::rdi] = kDevice;
        cpu.flags = 2 | carry | rflags::OF;
        ASSERT_EQ(cpu.run({0x83, 0x17, 0x01}), Emulation::OK); // adc dword [rdi], 1
        EXPECT_EQ(cpu.get<u32>(kDevice), 6u + (carry ? 1 : 0));
        EXPECT_EQ(cpu.flags & rflags::OF, 0u);
    }
    FakeCpu cpu; // a shift by nothing changes no flag
    cpu.put<u32>(kDevice, 5);
    cpu[Gpr::rdi] = kDevice;
    cpu.flags = 2 | rflags::kArithmetic;
    ASSERT_EQ(cpu.run({0xd3, 0x27}), Emulation::OK);
    EXPECT_EQ(cpu.flags, 2 | rflags::kArithmetic);
    EXPECT_EQ(cpu.get<u32>(kDevice), 5u);
    cpu.flags = 2 | rflags::ZF;
    ASSERT_EQ(cpu.run({0x0f, 0x94, 0x07}), Emulation::OK); // setz
    EXPECT_EQ(cpu.get<u32>(kDevice), 1u);
}

TEST(EmulOperations, ReadModifyWriteAsksOnceAndWritesOnce)
{
    FakeCpu cpu;
    cpu.put<u32>(kDevice, 5);
    cpu[Gpr::rdi] = kDevice;
    ASSERT_EQ(cpu.run({0x83, 0x07, 0x01}), Emulation::OK);
    EXPECT_EQ(cpu.log, (Log{"ask 0", "write 0"}));
    EXPECT_EQ(cpu.passes, 2);
    for (const bool sole : cpu.sole)
        EXPECT_TRUE(sole);
}

TEST(EmulOperations, NothingIsWrittenBackBeforeUserSpaceAnswered)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = kDevice;
    cpu.flags = 2 | rflags::CF;
    cpu.put<u32>(FakeCpu::kCode, 0x0703); // add eax, [rdi]
    cpu.rip_value = FakeCpu::kCode;
    ASSERT_EQ(cpu.emulator.decode({}), Emulation::OK);
    EXPECT_EQ(cpu.emulator.execute(), Emulation::OK);
    EXPECT_FALSE(cpu.emulator.retired());
    EXPECT_TRUE(cpu.pending);
}

TEST(EmulOperations, CompareStringsOnADeviceReadsEachOperandOnce)
{
    FakeCpu cpu;
    cpu.put<u8>(kDevice, 3);
    cpu.put<u8>(kDevice + 0x100, 4);
    cpu[Gpr::rsi] = kDevice;
    cpu[Gpr::rdi] = kDevice + 0x100;
    ASSERT_EQ(cpu.run({0xa6}), Emulation::OK); // cmpsb
    EXPECT_EQ(cpu.log, (Log{"ask 256", "ask 0"}));
    EXPECT_NE(cpu.flags & rflags::CF, 0u);
    EXPECT_EQ(cpu[Gpr::rsi], kDevice + 1);
    for (const bool sole : cpu.sole)
        EXPECT_FALSE(sole); // two operands: the reported address may be the other's
}

TEST(EmulOperations, RepeatedMovesGoElementByElement)
{
    FakeCpu cpu;
    for (u64 i = 0; i < 8; ++i)
        cpu.put<u8>(FakeCpu::kData + i, static_cast<u8>(i + 1));
    cpu[Gpr::rsi] = FakeCpu::kData;
    cpu[Gpr::rdi] = kDevice;
    cpu[Gpr::rcx] = 4;
    ASSERT_EQ(cpu.run({0xf3, 0x66, 0xa5}), Emulation::OK); // rep movsw
    EXPECT_EQ(cpu.get<u64>(kDevice), 0x0807060504030201u);
    EXPECT_EQ(cpu[Gpr::rcx], 0u);
    EXPECT_EQ(cpu[Gpr::rsi], FakeCpu::kData + 8);
    EXPECT_EQ(cpu[Gpr::rdi], kDevice + 8);
    EXPECT_EQ(cpu.passes, 4);
    EXPECT_EQ(cpu.rip_value, FakeCpu::kCode); // retires when it is executed with a count of zero
    EXPECT_NE(cpu.flags & rflags::RF, 0u);
    cpu.flags |= rflags::DF;
    cpu[Gpr::rdi] = kDevice + 12;
    cpu[Gpr::rax] = 0xabababab;
    cpu[Gpr::rcx] = 2;
    ASSERT_EQ(cpu.run({0xf3, 0xab}), Emulation::OK); // rep stosd, downwards
    EXPECT_EQ(cpu.get<u64>(kDevice + 8), 0xababababababababu);
    EXPECT_EQ(cpu[Gpr::rdi], kDevice + 4);
}

TEST(EmulOperations, ARepetitionOfNothingOnlyRetires)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = kDevice;
    cpu.flags |= rflags::RF;
    ASSERT_EQ(cpu.run({0xf3, 0xaa}), Emulation::OK);
    EXPECT_TRUE(cpu.log.empty());
    EXPECT_EQ(cpu.rip_value, FakeCpu::kCode + 2);
    EXPECT_EQ(cpu.flags, 2u);
    EXPECT_EQ(cpu[Gpr::rdi], kDevice);
}

TEST(EmulOperations, LongRepetitionsLetTheGuestInBetween)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = FakeCpu::kData;
    cpu[Gpr::rcx] = 0x500;
    ASSERT_EQ(cpu.run({0xf3, 0xaa}), Emulation::OK);
    EXPECT_EQ(cpu[Gpr::rcx], 0x400u);
    EXPECT_EQ(cpu.rip_value, FakeCpu::kCode); // the instruction is not done
    EXPECT_NE(cpu.flags & rflags::RF, 0u);
}

TEST(EmulOperations, RepeatedScansEndByZf)
{
    FakeCpu cpu;
    std::memcpy(cpu.memory + FakeCpu::kData, "aaab", 4);
    cpu[Gpr::rdi] = FakeCpu::kData;
    cpu[Gpr::rcx] = 10;
    cpu[Gpr::rax] = 'a';
    ASSERT_EQ(cpu.run({0xf3, 0xae}), Emulation::OK); // repe scasb
    EXPECT_EQ(cpu[Gpr::rcx], 6u);
    cpu[Gpr::rdi] = FakeCpu::kData;
    cpu[Gpr::rcx] = 10;
    cpu[Gpr::rax] = 'b';
    ASSERT_EQ(cpu.run({0xf2, 0xae}), Emulation::OK); // repne scasb
    EXPECT_EQ(cpu[Gpr::rcx], 6u);
    EXPECT_EQ(cpu[Gpr::rdi], FakeCpu::kData + 4);
}

TEST(EmulOperations, StringPortIoMovesBetweenPortsAndMemory)
{
    FakeCpu cpu;
    cpu[Gpr::rdx] = 0x60;
    cpu[Gpr::rdi] = FakeCpu::kData;
    cpu[Gpr::rcx] = 2;
    ASSERT_EQ(cpu.run({0xf3, 0x66, 0x6d}), Emulation::OK); // rep insw
    EXPECT_EQ(cpu.get<u32>(FakeCpu::kData), 0x5a5a5a5au);
    EXPECT_EQ(cpu.log, (Log{"in 96 x2"}));
    EXPECT_EQ(cpu[Gpr::rcx], 0u);
    EXPECT_EQ(cpu[Gpr::rdi], FakeCpu::kData + 4);
    cpu.log.clear();
    cpu[Gpr::rsi] = FakeCpu::kData;
    cpu[Gpr::rcx] = 2;
    ASSERT_EQ(cpu.run({0xf3, 0x6e}), Emulation::OK); // rep outsb
    EXPECT_EQ(cpu.log, (Log{"out 96 90", "out 96 90"}));
    EXPECT_EQ(cpu[Gpr::rsi], FakeCpu::kData + 2);
}

TEST(EmulOperations, RepeatedInputIsReadAheadAsFarAsThePageAndTheBufferGo)
{
    struct {
        std::initializer_list<u8> code;
        u64 rdi, rcx, elements, bytes;
        bool down;
    } const cases[] = {
        {{0xf3, 0x6c}, FakeCpu::kData, 5000, 1024, 1, false},           // rep insb: the buffer
        {{0xf3, 0x6d}, FakeCpu::kData, 5000, 256, 4, false},            // rep insd
        {{0xf3, 0x66, 0x6d}, FakeCpu::kData + 0xff8, 50, 8, 2, false},  // bytes up to the page's end
        {{0xf3, 0x6c}, FakeCpu::kData + 3, 50, 3, 1, true},             // down to its start
        {{0xf3, 0x6c}, FakeCpu::kData, 50, 1, 1, true},                 // but at least one
        {{0x6d}, FakeCpu::kData, 50, 1, 4, false},                      // not repeated
        {{0x67, 0xf3, 0x6c}, FakeCpu::kData, 0x100000007, 7, 1, false}, // ECX counts
    };
    for (const auto& c : cases) {
        FakeCpu cpu;
        cpu[Gpr::rdx] = 0x60;
        cpu[Gpr::rdi] = c.rdi;
        cpu[Gpr::rcx] = c.rcx;
        cpu.flags |= c.down ? rflags::DF : 0;
        ASSERT_EQ(cpu.run(c.code), Emulation::OK);
        EXPECT_EQ(cpu.log, Log{"in 96 x" + std::to_string(c.elements)});
        const u64 moved = c.elements * c.bytes;
        EXPECT_EQ(cpu[Gpr::rdi], c.down ? c.rdi - moved : c.rdi + moved);
        for (u64 i = 0; i < moved; ++i)
            ASSERT_EQ(cpu.memory[c.down ? c.rdi - i : c.rdi + i], 0x5a);
    }
}

TEST(EmulOperations, ReadAheadThatCannotBeStoredIsNotReadAgain)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = FakeCpu::kMemory;
    cpu[Gpr::rcx] = 3;
    cpu[Gpr::rdx] = 0x60;
    ASSERT_EQ(cpu.run({0xf3, 0x6c}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 14);
    EXPECT_EQ(cpu.exception_error, 2u);
    EXPECT_EQ(cpu[Gpr::rcx], 3u);
    EXPECT_EQ(cpu.log, Log{"in 96 x3"});
}

TEST(EmulOperations, AFaultInARepetitionKeepsTheElementsBefore)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = FakeCpu::kMemory - 8;
    cpu[Gpr::rcx] = 3;
    ASSERT_EQ(cpu.run({0xf3, 0x48, 0xab}), Emulation::OK); // rep stosq: the second element is not there
    EXPECT_EQ(cpu.exception, 14);
    EXPECT_EQ(cpu[Gpr::rcx], 2u);
    EXPECT_EQ(cpu[Gpr::rdi], FakeCpu::kMemory);
    EXPECT_EQ(cpu.rip_value, FakeCpu::kCode);
}

TEST(EmulIntercept, ThePointsAreAskedInGuestModeOnly)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = kDevice;
    ASSERT_EQ(cpu.run({0x89, 0x07}), Emulation::OK);
    EXPECT_TRUE(cpu.stages.empty());
    cpu.guest_mode = true;
    ASSERT_EQ(cpu.run({0x89, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.stages,
              (std::vector<InterceptStage>{InterceptStage::PRE_EXCEPT, InterceptStage::POST_EXCEPT,
                                           InterceptStage::POST_MEMACCESS}));
}

TEST(EmulIntercept, EachPointStopsTheInstruction)
{
    for (int point = 0; point < 3; ++point) {
        FakeCpu cpu;
        cpu.guest_mode = true;
        cpu.intercept_at = point;
        cpu[Gpr::rdi] = kDevice;
        cpu[Gpr::rax] = 7;
        EXPECT_EQ(cpu.run({0x89, 0x07}), Emulation::INTERCEPTED);
        EXPECT_EQ(cpu.stages.size(), static_cast<std::size_t>(point) + 1);
        EXPECT_EQ(cpu.get<u32>(kDevice), 0u);
        EXPECT_EQ(cpu.rip_value, FakeCpu::kCode);
    }
}

} // namespace
} // namespace seamless
