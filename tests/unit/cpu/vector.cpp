// SPDX-License-Identifier: Apache-2.0
// Gathers and masked moves: only the selected elements are touched, and a fault keeps what was done before
// it.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class Vector : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    void SetUp() override
    {
        if (!(cpu::native_cpuid(7, 0).ebx & bit(5)))
            GTEST_SKIP() << "the host has no AVX2";
        machine.gpr(Gpr::rbx) = kTable;
        machine.gpr(Gpr::rsi) = kIndex;
        machine.gpr(Gpr::rdx) = kMask;
        machine.gpr(Gpr::rdi) = kResult;
    }
    // vmovdqu ymm1,[rsi]; vmovdqu ymm2,[rdx]; vpxor ymm0,ymm0,ymm0; `insn`; vmovdqu [rdi],ymm0; vmovdqu
    // [rdx],ymm2
    ExitReason run_between(std::initializer_list<u8> insn)
    {
        std::vector<u8> bytes = {0xc5, 0xfe, 0x6f, 0x0e, 0xc5, 0xfe, 0x6f, 0x12, 0xc5, 0xfd, 0xef, 0xc0};
        bytes.insert(bytes.end(), insn);
        bytes.insert(bytes.end(), {0xc5, 0xfe, 0x7f, 0x07, 0xc5, 0xfe, 0x7f, 0x12});
        return machine.run(bytes);
    }
    static constexpr u64 kTable = GuestMachine::kData, kIndex = kTable + 0x2000, kMask = kIndex + 32,
                         kResult = kMask + 32;
    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Vector, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

// Whatever the host has.
TEST_P(Vector, ThereIsNoAvx512)
{
    EXPECT_EQ(cpu::native_cpuid(7, 0).ebx & (bit(16) | bits(31, 30)), 0u);
    EXPECT_EQ(cpu::supported_xcr0() & bits(7, 5), 0u);
    machine.run({0x62, 0xf1, 0x7c, 0x48, 0x28, 0x03}); // vmovaps zmm0,[rbx]
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::UD));
    machine.gpr(Gpr::rcx) = machine.gpr(Gpr::rdx) = 0;
    machine.gpr(Gpr::rax) = 0xe7;
    machine.run({0x0f, 0x01, 0xd1}); // xsetbv
    EXPECT_EQ(machine.vmcs.exit_reason & 0xffff, static_cast<u32>(ExitReason::XSETBV)) << "KVM's to refuse";
}

TEST_P(Vector, GathersTheSelectedElements)
{
    for (u32 i = 0; i < 8; ++i) {
        machine.put<u32>(kTable + 4 * (i * 3), 100 + i);
        machine.put<u32>(kIndex + 4 * i, i * 3);
        machine.put<u32>(kMask + 4 * i, i == 5 ? 0 : 0x80000000);
    }
    EXPECT_EQ(run_between({0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x8b}),
              ExitReason::VMCALL); // vpgatherdd ymm0,[rbx+ymm1*4],ymm2
    for (u32 i = 0; i < 8; ++i) {
        EXPECT_EQ(machine.get<u32>(kResult + 4 * i), i == 5 ? 0 : 100 + i) << i;
        EXPECT_EQ(machine.get<u32>(kMask + 4 * i), 0u);
    }
}

TEST_P(Vector, AGatherThatFaultsKeepsWhatItHas)
{
    for (u32 i = 0; i < 8; ++i) {
        machine.put<u32>(kTable + 4 * i, 100 + i);
        machine.put<u32>(kIndex + 4 * i, i == 3 ? 0x10000000 : i); // far outside of what is mapped
        machine.put<u32>(kMask + 4 * i, 0x80000000);
    }
    EXPECT_EQ(run_between({0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x8b}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 14);
    EXPECT_EQ(machine.context.cr2, kTable + 0x40000000);
    machine.put<u32>(kMask, 1); // what the handler's state says: run the stores alone
    EXPECT_EQ(machine.run({0xc5, 0xfe, 0x7f, 0x07, 0xc5, 0xfe, 0x7f, 0x12}), ExitReason::VMCALL);
    EXPECT_EQ(machine.get<u32>(kResult + 8), 102u);
    EXPECT_EQ(machine.get<u32>(kResult + 12), 0u);
    EXPECT_EQ(machine.get<u32>(kMask + 8), 0u);
    EXPECT_EQ(machine.get<u32>(kMask + 12), 0x80000000u);
}

TEST_P(Vector, MaskedMovesTouchOnlyTheirElements)
{
    // The upper half of the operand is on a page that is not there; only the lower is selected.
    constexpr u64 kEdge = GuestMachine::kMemory - 5 * kPageSize;
    const u64 at = kEdge - 16;
    machine.set_entry(Gpa(kEdge), spec::ept::SUPPRESS_VE);
    for (u32 i = 0; i < 4; ++i)
        machine.put<u32>(at + 4 * i, 200 + i);
    for (u32 i = 0; i < 8; ++i) {
        machine.put<u32>(kIndex + 4 * i, i < 4 && i != 2 ? 0x80000000 : 0); // ymm1 is the mask here
    }
    machine.gpr(Gpr::rbx) = at;
    EXPECT_EQ(run_between({0xc4, 0xe2, 0x75, 0x2c, 0x03}),
              ExitReason::VMCALL); // vmaskmovps ymm0, ymm1, [rbx]
    EXPECT_EQ(machine.get<u32>(kResult), 200u);
    EXPECT_EQ(machine.get<u32>(kResult + 8), 0u);
    EXPECT_EQ(machine.get<u32>(kResult + 12), 203u);
    EXPECT_EQ(machine.get<u32>(kResult + 16), 0u);
    // vmaskmovps [rbx], ymm1, ymm0 with zeros in ymm0
    EXPECT_EQ(run_between({0xc4, 0xe2, 0x75, 0x2e, 0x03}), ExitReason::VMCALL);
    EXPECT_EQ(machine.get<u32>(at), 0u);
    EXPECT_EQ(machine.get<u32>(at + 8), 202u);
    machine.put<u32>(kIndex + 16, 0x80000000);
    EXPECT_EQ(run_between({0xc4, 0xe2, 0x75, 0x2e, 0x03}), ExitReason::EPT_VIOLATION);
}

} // namespace
} // namespace seamless
