// SPDX-License-Identifier: Apache-2.0
// What random instructions did otherwise than the host CPU, one test for each cause (tests/diff found them).
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

constexpr u64 kUnmapped = GuestMachine::kMemory; // behind the last page
constexpr int kGp = 13, kPf = 14, kMf = 16;

class HostDifferences : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    u8* xsave() { return machine.context.xsave.bytes; }
    template <typename T>
    void put_xsave(unsigned at, T value)
    {
        std::memcpy(xsave() + at, &value, sizeof value);
    }
    template <typename T>
    T get_xsave(unsigned at)
    {
        T value;
        std::memcpy(&value, xsave() + at, sizeof value);
        return value;
    }
    void extended_state_is_given() { put_xsave<u64>(512, cpu::supported_xcr0()); }

    static constexpr unsigned kFcw = 0, kFsw = 2, kFtw = 4, kMxcsr = 24, kSt = 32, kXmm = 160;

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, HostDifferences,
                         testing::Values(cpu::EngineMode::step, cpu::EngineMode::full), [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(HostDifferences, ConversionFromMemoryUsesTheGuestsMxcsr)
{
    machine.put<float>(GuestMachine::kData, 1.5f);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    extended_state_is_given();
    put_xsave<u32>(kMxcsr, 0x7f80);                                       // round towards zero
    EXPECT_EQ(machine.run({0xf3, 0x0f, 0x2d, 0x03}), ExitReason::VMCALL); // cvtss2si eax, [rbx]
    EXPECT_EQ(machine.gpr(Gpr::rax), 1u);
    EXPECT_EQ(get_xsave<u32>(kMxcsr), 0x7fa0u); // inexact
}

TEST_P(HostDifferences, VzeroallClearsTheGuestsRegisters)
{
    if (!(cpu::supported_xcr0() & 4))
        GTEST_SKIP() << "no AVX";
    extended_state_is_given();
    put_xsave<u64>(kXmm + 16, 0x1234);
    EXPECT_EQ(machine.run({0xc5, 0xfc, 0x77}), ExitReason::VMCALL);
    EXPECT_EQ(get_xsave<u64>(kXmm + 16), 0u);
}

TEST_P(HostDifferences, EmmsEmptiesTheGuestsRegisters)
{
    extended_state_is_given();
    put_xsave<u8>(kFtw, 0xff);
    put_xsave<u16>(kFsw, 0x2000);
    EXPECT_EQ(machine.run({0x0f, 0x77}), ExitReason::VMCALL);
    EXPECT_EQ(get_xsave<u8>(kFtw), 0u);
    EXPECT_EQ(get_xsave<u16>(kFsw), 0u);
}

TEST_P(HostDifferences, MaskmovqReadsMmxRegistersWhereverTopIs)
{
    extended_state_is_given();
    put_xsave<u16>(kFsw, 5 << 11);
    put_xsave<u64>(kSt + 16 * 4, 0x1122334455667788); // ST4 is register 1
    put_xsave<u64>(kSt + 16 * 5, 0x00000000000000ff); // ST5 is register 2
    machine.gpr(Gpr::rdi) = GuestMachine::kData;
    machine.put<u64>(GuestMachine::kData, 0);
    EXPECT_EQ(machine.run({0x0f, 0xf7, 0xca}), ExitReason::VMCALL); // maskmovq mm1, mm2
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData), 0x88u);
    EXPECT_EQ(get_xsave<u16>(kFsw), 0u);
    EXPECT_EQ(get_xsave<u8>(kFtw), 0xffu);
    EXPECT_EQ(get_xsave<u64>(kSt + 16), 0x1122334455667788u);
}

TEST_P(HostDifferences, EnterCopiesTheFramesOfEnclosingProcedures)
{
    machine.gpr(Gpr::rsp) = GuestMachine::kStack;
    machine.gpr(Gpr::rbp) = GuestMachine::kData + 64;
    machine.put<u64>(GuestMachine::kData + 56, 0xaaaa);
    machine.put<u64>(GuestMachine::kData + 48, 0xbbbb);
    EXPECT_EQ(machine.run({0xc8, 0x10, 0x00, 0x63}), ExitReason::VMCALL); // enter 16, 3 (modulo 32)
    constexpr u64 kFrame = GuestMachine::kStack - 8;
    EXPECT_EQ(machine.gpr(Gpr::rbp), kFrame);
    EXPECT_EQ(machine.gpr(Gpr::rsp), kFrame - 3 * 8 - 16);
    EXPECT_EQ(machine.get<u64>(kFrame), GuestMachine::kData + 64);
    EXPECT_EQ(machine.get<u64>(kFrame - 8), 0xaaaau);
    EXPECT_EQ(machine.get<u64>(kFrame - 16), 0xbbbbu);
    EXPECT_EQ(machine.get<u64>(kFrame - 24), kFrame);
}

TEST_P(HostDifferences, EnterPushesSixteenBits)
{
    machine.gpr(Gpr::rsp) = GuestMachine::kStack;
    machine.gpr(Gpr::rbp) = 0x12345678;
    EXPECT_EQ(machine.run({0x66, 0xc8, 0x00, 0x00, 0x00}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rsp), GuestMachine::kStack - 2);
    EXPECT_EQ(machine.get<u16>(GuestMachine::kStack - 2), 0x5678u);
    EXPECT_EQ(machine.gpr(Gpr::rbp), 0x1234fffeu);
}

TEST_P(HostDifferences, EnterFaultsIfItsNewTopCannotBeWritten)
{
    machine.user_mode(); // or the exception would need that stack
    machine.gpr(Gpr::rsp) = GuestMachine::kStack;
    machine.gpr(Gpr::rbp) = 0x1234;
    machine.put<u64>(GuestMachine::kMemory - kPageSize + 8 * 0x7c, 0); // page 7C000
    machine.lp.invept_all();
    EXPECT_EQ(machine.run({0xc8, 0x80, 0x3f, 0x00}), ExitReason::VMCALL); // enter 0x3f80, 0
    EXPECT_EQ(machine.handled_vector(), kPf);
    EXPECT_EQ(machine.gpr(Gpr::rbp), 0x1234u);
}

TEST_P(HostDifferences, AddressesOfThirtyTwoBitsNeedNoBaseRegister)
{
    machine.put<u32>(GuestMachine::kData + 8, 0xcafe);
    machine.gpr(Gpr::r13) = 0x5555;
    machine.gpr(Gpr::rdi) = 4;
    EXPECT_EQ(machine.run({0x67, 0x41, 0x8b, 0x04, 0x7d, 0x00, 0x00, 0x10, 0x00}), // mov eax, [edi*2+100000h]
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 0xcafeu);
}

TEST_P(HostDifferences, ClflushTouchesNoByteBehindItsOwn)
{
    machine.gpr(Gpr::rbx) = kUnmapped - 1;
    EXPECT_EQ(machine.run({0x0f, 0xae, 0x3b}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
}

TEST_P(HostDifferences, MisalignmentIsReportedBeforeMissingPages)
{
    machine.gpr(Gpr::rbx) = kUnmapped - 8;
    EXPECT_EQ(machine.run({0x66, 0x0f, 0xfe, 0x03}), ExitReason::VMCALL); // paddd xmm0, [rbx]
    EXPECT_EQ(machine.handled_vector(), kGp);
}

TEST_P(HostDifferences, UnalignedFormsFaultOnMissingPages)
{
    machine.gpr(Gpr::rbx) = kUnmapped - 8;
    EXPECT_EQ(machine.run({0x0f, 0x10, 0x03}), ExitReason::VMCALL); // movups xmm0, [rbx]
    EXPECT_EQ(machine.handled_vector(), kPf);
}

TEST_P(HostDifferences, PendingX87ExceptionsAreReportedBeforeMissingPages)
{
    for (const std::initializer_list<u8> code : {std::initializer_list<u8>{0xd9, 0x03}, // fld dword [rbx]
                                                 std::initializer_list<u8>{0xdb, 0x0b}, // fisttp dword [rbx]
                                                 std::initializer_list<u8>{0x0f, 0x6f, 0x03}}) { // movq mm0
        machine.reset_state();
        extended_state_is_given();
        put_xsave<u16>(kFcw, 0x37e);  // invalid operation unmasked
        put_xsave<u16>(kFsw, 0x8081); // and pending
        machine.gpr(Gpr::rbx) = kUnmapped;
        EXPECT_EQ(machine.run(std::span(code.begin(), code.size())), ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), kMf);
    }
}

TEST_P(HostDifferences, FxrstorDropsReservedBitsAndRecomputesTheSummary)
{
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    machine.put<u16>(GuestMachine::kData + kFcw, 0xbf42);
    machine.put<u16>(GuestMachine::kData + kFsw, 0x0146); // unmasked, yet neither ES nor B
    machine.put<u32>(GuestMachine::kData + kMxcsr, 0x1f80);
    EXPECT_EQ(machine.run({0x0f, 0xae, 0x0b, 0x0f, 0xae, 0x03}), ExitReason::VMCALL); // fxrstor, fxsave
    EXPECT_EQ(machine.get<u16>(GuestMachine::kData + kFcw), 0x1f42);
    EXPECT_EQ(machine.get<u16>(GuestMachine::kData + kFsw), 0x81c6);
}

} // namespace
} // namespace seamless
