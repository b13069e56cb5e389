// SPDX-License-Identifier: Apache-2.0
// Calls and returns that do not pair up, nest too deep, or come back to code that is no longer there.
#include <array>
#include <gtest/gtest.h>

#include "cpu/translate/jump_cache.h"
#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

constexpr u64 kFunction = 0x20000; // another page

class Returns : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Returns, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Returns, OfThousandsOfLevels)
{
    for (const u64 depth : {u64{3}, u64{1000}, u64{1024}, u64{5000}}) {
        machine.gpr(Gpr::rcx) = depth;
        machine.gpr(Gpr::rax) = 0;
        machine.vmcs.rsp = GuestMachine::kStack;
        // call f; vmcall; f: dec rcx; jz l; call f; l: inc rax; ret
        ASSERT_EQ(machine.run({0xe8, 3,    0,    0,    0,    0x0f, 0x01, 0xc1, 0x48, 0xff, 0xc9,
                               0x74, 0x05, 0xe8, 0xf6, 0xff, 0xff, 0xff, 0x48, 0xff, 0xc0, 0xc3}),
                  ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax), depth);
        EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack);
    }
}

// The host's return leads behind the inner call first, where nobody reads the flags.
TEST_P(Returns, ThatBelongToAnotherCallKeepTheFlags)
{
    for (int i = 0; i < 4; ++i) {
        machine.gpr(Gpr::rax) = 0;
        machine.vmcs.rsp = GuestMachine::kStack;
        // call f; setc al; vmcall; nop; f: call l; l: pop rcx; xor edx, edx; stc; ret
        ASSERT_EQ(machine.run({0xe8, 7,    0, 0, 0, 0x0f, 0x92, 0xc0, 0x0f, 0x01, 0xc1,
                               0x90, 0xe8, 0, 0, 0, 0,    0x59, 0x31, 0xd2, 0xf9, 0xc3}),
                  ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax), 1u) << i;
        EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack);
    }
}

TEST_P(Returns, ThatNeverCome)
{
    // mov ecx, 1000000; l: call n; n: pop rax; dec rcx; jnz l
    machine.gpr(Gpr::rcx) = 0;
    const u8 rounds = GetParam() == cpu::EngineMode::step ? 0x01 : 0x10; // times 65,536
    ASSERT_EQ(machine.run({0xb9, 0, 0, rounds, 0, 0xe8, 0, 0, 0, 0, 0x58, 0x48, 0xff, 0xc9, 0x75, 0xf5}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0u);
    EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack);
}

TEST_P(Returns, ThatNeverComeWithFlagsThatAreRead)
{
    // mov ecx, 1000000; l: stc; call n; n: pop rax; mov eax, 0; adc eax, 0; dec rcx; jnz l
    const u8 rounds = GetParam() == cpu::EngineMode::step ? 0x01 : 0x10;
    ASSERT_EQ(machine.run({0xb9, 0, 0, rounds, 0,    0xf9, 0xe8, 0,    0,    0,    0,    0x58, 0xb8,
                           0,    0, 0, 0,      0x83, 0xd0, 0,    0x48, 0xff, 0xc9, 0x75, 0xec}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 1u);
}

TEST_P(Returns, OfThousandsOfLevelsThroughAnotherPage)
{
    // f: dec rcx; jz l; call rdx; l: inc rax; ret
    machine.code(kFunction,
                 std::array<u8, 11>{0x48, 0xff, 0xc9, 0x74, 0x02, 0xff, 0xd2, 0x48, 0xff, 0xc0, 0xc3});
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rcx) = 5000;
    machine.gpr(Gpr::rax) = 0;
    ASSERT_EQ(machine.run({0xff, 0xd2}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 5000u);
}

TEST_P(Returns, ToWhereNobodyCalled)
{
    machine.code(kFunction, std::array<u8, 3>{0x5a, 0x53, 0xc3});         // pop rdx; push rbx; ret
    machine.code(kFunction + 16, std::array<u8, 4>{0xb0, 7, 0xff, 0xe2}); // mov al, 7; jmp rdx
    machine.gpr(Gpr::rsi) = kFunction;
    machine.gpr(Gpr::rbx) = kFunction + 16;
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = 0;
        ASSERT_EQ(machine.run({0xff, 0xd6, 0x04, 1}), ExitReason::VMCALL); // call rsi; add al, 1
        EXPECT_EQ(machine.gpr(Gpr::rax), 8u);
    }
}

TEST_P(Returns, PastTheirCaller)
{
    // outer: call inner; add al, 1; ret; inner: add rsp, 8; ret
    machine.code(kFunction,
                 std::array<u8, 13>{0xe8, 3, 0, 0, 0, 0x04, 1, 0xc3, 0x48, 0x83, 0xc4, 0x08, 0xc3});
    machine.gpr(Gpr::rsi) = kFunction;
    machine.gpr(Gpr::rax) = 0;
    // mov ecx, 20; l: call rsi; add al, 2; dec ecx; jnz l
    ASSERT_EQ(machine.run({0xb9, 20, 0, 0, 0, 0xff, 0xd6, 0x04, 2, 0xff, 0xc9, 0x75, 0xf8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 40u);
}

TEST_P(Returns, ToCodeThatTheCalleeHasChanged)
{
    machine.code(kFunction, std::array<u8, 3>{0x88, 0x0b, 0xc3}); // mov [rbx], cl; ret
    machine.gpr(Gpr::rsi) = kFunction;
    for (int i = 0; i < 4; ++i) {
        machine.gpr(Gpr::rax) = 0;
        machine.gpr(Gpr::rbx) = i < 2 ? GuestMachine::kData : GuestMachine::kCode + 3;
        machine.gpr(Gpr::rcx) = 40 + static_cast<u64>(i);
        ASSERT_EQ(machine.run({0xff, 0xd6, 0x04, 1}), ExitReason::VMCALL); // call rsi; add al, 1
        EXPECT_EQ(machine.gpr(Gpr::rax), i < 2 ? 1u : 40u + static_cast<u64>(i));
    }
}

TEST_P(Returns, ToAPageThatIsMappedElsewhereMeanwhile)
{
    constexpr u64 kOther = 0x30000;
    machine.code(kFunction, std::array<u8, 7>{0x48, 0x89, 0x0b, 0x0f, 0x01, 0x3e,
                                              0xc3}); // mov [rbx], rcx; invlpg [rsi]; ret
    const std::array<u8, 7> before{0xff, 0xd2, 0x04, 1, 0x0f, 0x01, 0xc1},
        after{0xff, 0xd2, 0x04, 9, 0x0f, 0x01, 0xc1};
    machine.code(kOther, after);
    const u64 entry = GuestMachine::guest_pte(GuestMachine::kCode), old = machine.get<u64>(entry);
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rsi) = GuestMachine::kCode;
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = 0;
        machine.gpr(Gpr::rbx) = entry;
        machine.gpr(Gpr::rcx) = (old & bits(11, 0)) | kOther;
        ASSERT_EQ(machine.run(before), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax), 9u);
        machine.put<u64>(entry, old);
        machine.lp.invvpid(0);
        machine.lp.invept_all();
    }
}

TEST_P(Returns, KeepTheFlags)
{
    machine.code(kFunction, std::array<u8, 2>{0xf9, 0xc3}); // stc; ret
    machine.gpr(Gpr::rsi) = kFunction;
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = 0;
        ASSERT_EQ(machine.run({0xff, 0xd6, 0x14, 0}), ExitReason::VMCALL); // call rsi; adc al, 0
        EXPECT_EQ(machine.gpr(Gpr::rax), 1u);
    }
}

// What is_sound() proves of the index at compile time holds only if the host computes the same.
TEST(JumpCacheIndex, IsTheHostsCrc)
{
    constexpr u64 kAddresses[] = {0, 2, bit(63), bit(63) | 2, 0xffffffff81000000, 0x7fffdeadbeef};
    constexpr std::array kIndices = {cpu::crc32c(kAddresses[0]), cpu::crc32c(kAddresses[1]),
                                     cpu::crc32c(kAddresses[2]), cpu::crc32c(kAddresses[3]),
                                     cpu::crc32c(kAddresses[4]), cpu::crc32c(kAddresses[5])};
    for (std::size_t i = 0; i < kIndices.size(); ++i) {
        const volatile u64 address = kAddresses[i];
        EXPECT_EQ(cpu::crc32c(address), kIndices[i]) << i;
    }
}

} // namespace
} // namespace seamless
