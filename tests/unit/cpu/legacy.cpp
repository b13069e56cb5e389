// SPDX-License-Identifier: Apache-2.0
// Instructions that exist in 32-bit code alone, in compatibility mode. Expected values are the SDM's.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;
namespace rf = spec::rflags;

class Legacy : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    void SetUp() override
    {
        machine.vmcs.seg[static_cast<int>(spec::Seg::cs)].ar = 0xc09b; // 32-bit code
    }
    // Runs with AX and the arithmetic flags given; returns AX.
    u64 adjust(std::initializer_list<u8> code, u64 ax, u64 flags)
    {
        machine.gpr(Gpr::rax) = 0xabcd0000 | ax;
        machine.vmcs.rflags = rf::FIXED1 | flags;
        EXPECT_EQ(machine.run(code), ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), -1);
        EXPECT_EQ(machine.gpr(Gpr::rax) >> 16, 0xabcdu);
        return machine.gpr(Gpr::rax) & 0xffff;
    }
    [[nodiscard]] u64 flags() const { return machine.vmcs.rflags & rf::kArithmetic; }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Legacy, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Legacy, AsciiAdjust)
{
    EXPECT_EQ(adjust({0x37}, 0x020f, 0), 0x0305u); // AAA
    EXPECT_EQ(flags(), rf::AF | rf::CF);
    EXPECT_EQ(adjust({0x37}, 0x0209, rf::CF), 0x0209u);
    EXPECT_EQ(flags(), 0u);
    EXPECT_EQ(adjust({0x37}, 0x00fa, 0), 0x0200u) << "the carry of AL goes into AH too";
    EXPECT_EQ(adjust({0x3f}, 0x020f, 0), 0x0109u); // AAS
    EXPECT_EQ(flags(), rf::AF | rf::CF);
    EXPECT_EQ(adjust({0x3f}, 0x0203, rf::AF), 0x000du) << "the borrow of AL goes out of AH too";
}

TEST_P(Legacy, DecimalAdjust)
{
    EXPECT_EQ(adjust({0x27}, 0x12ae, 0), 0x1214u); // DAA of 79H + 35H
    EXPECT_EQ(flags(), rf::AF | rf::CF | rf::PF);
    EXPECT_EQ(adjust({0x27}, 0x12fb, 0), 0x1261u);
    EXPECT_EQ(flags(), rf::AF | rf::CF);
    EXPECT_EQ(adjust({0x2f}, 0x1247, rf::AF | rf::CF), 0x12e1u); // DAS
    EXPECT_EQ(flags() & (rf::AF | rf::CF | rf::SF), rf::AF | rf::CF | rf::SF);
    EXPECT_EQ(adjust({0x2f}, 0x12ee, 0), 0x1288u); // of 35H - 47H without its borrow
    EXPECT_EQ(flags() & (rf::AF | rf::CF), rf::AF | rf::CF);
}

TEST_P(Legacy, MultiplyAndDivide)
{
    EXPECT_EQ(adjust({0xd4, 10}, 0x12ff, 0), 0x1905u); // AAM
    EXPECT_EQ(flags(), rf::PF);
    EXPECT_EQ(adjust({0xd4, 16}, 0x1240, 0), 0x0400u);
    EXPECT_EQ(flags(), rf::ZF | rf::PF);
    EXPECT_EQ(adjust({0xd5, 10}, 0x0705, 0), 0x004bu); // AAD
    machine.run({0xd4, 0});
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::DE));
}

TEST_P(Legacy, SetAlFromCarry)
{
    EXPECT_EQ(adjust({0xd6}, 0x1234, rf::CF), 0x12ffu);
    EXPECT_EQ(adjust({0xd6}, 0x1234, 0), 0x1200u);
}

TEST_P(Legacy, PushAndPopAll)
{
    constexpr Gpr kOrder[] = {Gpr::rdi, Gpr::rsi, Gpr::rbp, Gpr::rsp, Gpr::rbx, Gpr::rdx, Gpr::rcx, Gpr::rax};
    for (unsigned i = 0; i < 8; ++i)
        if (kOrder[i] != Gpr::rsp)
            machine.gpr(kOrder[i]) = 0x11110000 + i;
    EXPECT_EQ(machine.run({0x60}), ExitReason::VMCALL);
    const u64 rsp = machine.vmcs.rsp;
    EXPECT_EQ(rsp, GuestMachine::kStack - 32);
    for (unsigned i = 0; i < 8; ++i) {
        const u64 expected = kOrder[i] == Gpr::rsp ? GuestMachine::kStack : 0x11110000 + i;
        EXPECT_EQ(machine.get<u32>(rsp + 4 * i), expected) << i;
        machine.put<u32>(rsp + 4 * i, 0x22220000 + i);
    }
    EXPECT_EQ(machine.run({0x61}), ExitReason::VMCALL);
    for (unsigned i = 0; i < 8; ++i)
        EXPECT_EQ(machine.gpr(kOrder[i]), kOrder[i] == Gpr::rsp ? GuestMachine::kStack : 0x22220000 + i) << i;
    EXPECT_EQ(machine.run({0x66, 0x60, 0x66, 0x61}), ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack);
}

TEST_P(Legacy, Bound)
{
    machine.put<u32>(GuestMachine::kData, static_cast<u32>(-5));
    machine.put<u32>(GuestMachine::kData + 4, 7);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    for (const i32 index : {-6, -5, 7, 8}) {
        machine.reset_state();
        SetUp();
        machine.gpr(Gpr::rbx) = GuestMachine::kData;
        machine.gpr(Gpr::rcx) = static_cast<u32>(index);
        EXPECT_EQ(machine.run({0x62, 0x0b}), ExitReason::VMCALL); // bound ecx, [ebx]
        EXPECT_EQ(machine.handled_vector(), index < -5 || index > 7 ? static_cast<int>(Vector::BR) : -1)
            << index;
    }
}

TEST_P(Legacy, Arpl)
{
    machine.gpr(Gpr::rax) = 0x10;
    machine.gpr(Gpr::rcx) = 0x23;
    EXPECT_EQ(machine.run({0x63, 0xc8}), ExitReason::VMCALL); // arpl ax, cx
    EXPECT_EQ(machine.gpr(Gpr::rax), 0x13u);
    EXPECT_TRUE(machine.vmcs.rflags & rf::ZF);
    EXPECT_EQ(machine.run({0x63, 0xc8}), ExitReason::VMCALL);
    EXPECT_FALSE(machine.vmcs.rflags & rf::ZF);
}

TEST_P(Legacy, FarPointers)
{
    machine.put<u32>(GuestMachine::kData, 0x12345678);
    machine.put<u16>(GuestMachine::kData + 4, GuestMachine::kDs);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    machine.vmcs.seg[static_cast<int>(spec::Seg::es)].selector = 0;
    EXPECT_EQ(machine.run({0xc4, 0x0b}), ExitReason::VMCALL); // les ecx, [ebx]
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0x12345678u);
    EXPECT_EQ(machine.vmcs.seg[static_cast<int>(spec::Seg::es)].selector, GuestMachine::kDs);
    EXPECT_EQ(machine.run({0xc5, 0x0b}), ExitReason::VMCALL); // lds
    EXPECT_EQ(machine.vmcs.seg[static_cast<int>(spec::Seg::ds)].selector, GuestMachine::kDs);
}

TEST_P(Legacy, NoneOfThemIn64BitCode)
{
    constexpr u8 kOpcodes[] = {0x37, 0x3f, 0x27, 0x2f, 0x60, 0x61, 0xd6};
    for (const u8 opcode : kOpcodes) {
        machine.reset_state();
        machine.run({opcode});
        EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::UD)) << std::hex << int{opcode};
    }
}

} // namespace
} // namespace seamless
