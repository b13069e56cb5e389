// SPDX-License-Identifier: Apache-2.0
// RDTSC and RDTSCP again and again: without C++ while the clock's line lasts, with the result that C++ gives.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

constexpr u64 kBase = 0xfedcba9876543210;
constexpr u64 kKernel = 0x30000, kUser = 0x20000;

class Tsc : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    Tsc()
    {
        machine.clock.line = {.base = kBase, .rate = 1};
        machine.gpr(Gpr::rbx) = kRounds;
    }
    static constexpr unsigned kRounds = 40;
    void expect_few_looks() const
    {
        if (GetParam() == cpu::EngineMode::full && __builtin_cpu_supports("bmi2"))
            EXPECT_LT(machine.clock.asked, kRounds / 2);
        else
            EXPECT_EQ(machine.clock.asked, kRounds);
    }
    [[nodiscard]] u64 read() { return machine.gpr(Gpr::rdx) << 32 | machine.gpr(Gpr::rax); }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Tsc, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

// Each is or-ed and and-ed into what must stay the same: r8, r9 of RAX, r10, r11 of RDX.
TEST_P(Tsc, IsTheSameWithoutCpp)
{
    for (const Gpr reg : {Gpr::r9, Gpr::r11})
        machine.gpr(reg) = ~u64{0};
    machine.gpr(Gpr::rcx) = 0x123456789abcdef0;
    // l: mov al, 127; add al, 1; rdtsc; seto r12b; setc r13b; or r8, rax; and r9, rax; or r10, rdx;
    // and r11, rdx; dec ebx; jnz l
    ASSERT_EQ(machine.run({0xb0, 0x7f, 0x04, 1,    0x0f, 0x31, 0x41, 0x0f, 0x90, 0xc4,
                           0x41, 0x0f, 0x92, 0xc5, 0x49, 0x09, 0xc0, 0x49, 0x21, 0xc1,
                           0x49, 0x09, 0xd2, 0x49, 0x21, 0xd3, 0xff, 0xcb, 0x75, 0xe2}),
              ExitReason::VMCALL);
    expect_few_looks();
    EXPECT_EQ(machine.gpr(Gpr::r8), kBase & 0xffffffff);
    EXPECT_EQ(machine.gpr(Gpr::r9), kBase & 0xffffffff);
    EXPECT_EQ(machine.gpr(Gpr::r10), kBase >> 32);
    EXPECT_EQ(machine.gpr(Gpr::r11), kBase >> 32);
    EXPECT_EQ(machine.gpr(Gpr::r12) & 0xff, 1u);
    EXPECT_EQ(machine.gpr(Gpr::r13) & 0xff, 0u);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0x123456789abcdef0);
}

TEST_P(Tsc, RdtscpTellsTheProcessor)
{
    machine.context.tsc_aux = 0x5555aaaa00000007;
    // l: rdtscp; dec ebx; jnz l
    ASSERT_EQ(machine.run({0x0f, 0x01, 0xf9, 0xff, 0xcb, 0x75, 0xf9}), ExitReason::VMCALL);
    expect_few_looks();
    EXPECT_EQ(read(), kBase);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 7u);
}

TEST_P(Tsc, HasTheOffset)
{
    machine.vmcs.proc_based |= spec::proc::TSC_OFFSETTING;
    machine.vmcs.tsc_offset = ~u64{0x10000} + 1;
    ASSERT_EQ(machine.run({0x0f, 0x31, 0xff, 0xcb, 0x75, 0xfa}), ExitReason::VMCALL);
    expect_few_looks();
    EXPECT_EQ(read(), kBase - 0x10000);
}

TEST_P(Tsc, ScaledIsForCpp)
{
    machine.vmcs.proc_based2 |= spec::proc2::TSC_SCALING;
    machine.vmcs.tsc_multiplier = bit(47);
    ASSERT_EQ(machine.run({0x0f, 0x31, 0xff, 0xcb, 0x75, 0xfa}), ExitReason::VMCALL);
    EXPECT_EQ(read(), kBase / 2);
    EXPECT_EQ(machine.clock.asked, kRounds);
    machine.vmcs.tsc_multiplier = bit(48); // as it is
    machine.clock.asked = 0;
    machine.gpr(Gpr::rbx) = kRounds;
    machine.vmcs.rip = GuestMachine::kCode;
    ASSERT_EQ(machine.enter(), ExitReason::VMCALL);
    EXPECT_EQ(read(), kBase);
    expect_few_looks();
}

// The slope: what passes on the line is half of what the host's counter counts.
TEST_P(Tsc, PassesAsTheLineSays)
{
    machine.clock.line.rate = bit(31);
    // rdtsc; shl rdx, 32; add rdx, rax; mov r8, rdx; l: rdtsc; shl rdx, 32; add rdx, rax; cmp rdx, r8; jb
    // out; mov r8, rdx; dec ebx; jnz l; out:
    const u64 before = __rdtsc();
    ASSERT_EQ(machine.run({0x0f, 0x31, 0x48, 0xc1, 0xe2, 32,   0x48, 0x01, 0xc2, 0x49, 0x89,
                           0xd0, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 32,   0x48, 0x01, 0xc2, 0x4c,
                           0x39, 0xc2, 0x72, 0x07, 0x49, 0x89, 0xd0, 0xff, 0xcb, 0x75, 0xeb}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rbx), 0u);
    EXPECT_GT(machine.gpr(Gpr::r8), kBase);
    EXPECT_LT(machine.gpr(Gpr::r8), kBase + (__rdtsc() - before) / 2);
}

TEST_P(Tsc, BehindTheEndOfALineTheClockIsAsked)
{
    machine.clock.age = base::TscLine::kCycles;
    ASSERT_EQ(machine.run({0x0f, 0x31, 0xff, 0xcb, 0x75, 0xfa}), ExitReason::VMCALL);
    EXPECT_EQ(read(), kBase);
    EXPECT_EQ(machine.clock.asked, kRounds);
}

TEST_P(Tsc, CanBeForbiddenToUsers)
{
    machine.context.star = u64{GuestMachine::kDs | 3} << 48 | u64{GuestMachine::kCs} << 32;
    machine.context.lstar = kKernel;
    machine.gpr(Gpr::r10) = 0;
    // l: rdtsc; syscall; dec ebx; jnz l; vmcall
    machine.code(kUser,
                 std::to_array<u8>({0x0f, 0x31, 0x0f, 0x05, 0xff, 0xcb, 0x75, 0xf8, 0x0f, 0x01, 0xc1}));
    // rdtsc; inc r10; cmp r10, 10; jne l; mov rax, cr4; or al, TSD; mov cr4, rax; l: sysretq
    machine.code(kKernel,
                 std::to_array<u8>({0x0f, 0x31, 0x49, 0xff, 0xc2, 0x49, 0x83, 0xfa, 10,   0x75, 8,
                                    0x0f, 0x20, 0xe0, 0x0c, 4,    0x0f, 0x22, 0xe0, 0x48, 0x0f, 0x07}));
    machine.user_mode();
    machine.vmcs.rip = kUser;
    machine.gpr(Gpr::rdx) = machine.gpr(Gpr::rax) = 0;
    ASSERT_EQ(machine.enter(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::GP));
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
    EXPECT_EQ(machine.gpr(Gpr::rax), (machine.vmcs.cr4 & 0xffffffff)) << "as it was";
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp + 8), kUser);
}

TEST_P(Tsc, CanExit)
{
    ASSERT_EQ(machine.run({0x0f, 0x31, 0xff, 0xcb, 0x75, 0xfa}), ExitReason::VMCALL);
    machine.vmcs.proc_based |= spec::proc::RDTSC_EXITING;
    machine.vmcs.rip = GuestMachine::kCode;
    EXPECT_EQ(machine.enter(), ExitReason::RDTSC);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode);
}

TEST_P(Tsc, RdtscpCanBeWithheld)
{
    machine.vmcs.proc_based2 &= ~spec::proc2::RDTSCP;
    // rdtsc; rdtsc; rdtscp
    ASSERT_EQ(machine.run({0x0f, 0x31, 0x0f, 0x31, 0x0f, 0x01, 0xf9}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::UD));
}

} // namespace
} // namespace seamless
