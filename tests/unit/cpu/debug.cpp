// SPDX-License-Identifier: Apache-2.0
// Single-stepping, breakpoints, RF, alignment checks.
#include <array>
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class Debug : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    static constexpr u64 kExecute = 0, kWrite = 1, kAccess = 3;
    // DR7 for breakpoint 0: enabled, of `kind`, LEN as encoded.
    static constexpr u64 dr7(u64 kind, u64 length) { return 0x400 | 1 | kind << 16 | length << 18; }
    u64 pushed_rip() { return machine.get<u64>(machine.vmcs.rsp); }
    u64 pushed_flags() { return machine.get<u64>(machine.vmcs.rsp + 16); }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Debug, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Debug, SingleStepTrapsBehindOneInstruction)
{
    machine.vmcs.rflags |= spec::rflags::TF;
    EXPECT_EQ(machine.run({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0}), ExitReason::VMCALL); // inc rax; inc rax
    EXPECT_EQ(machine.handled_vector(), 1);
    EXPECT_EQ(pushed_rip(), GuestMachine::kCode + 3);
    EXPECT_EQ(machine.gpr(Gpr::rax), 1u);
    EXPECT_TRUE(machine.context.dr6 & spec::dr6::BS);
    EXPECT_FALSE(machine.vmcs.rflags & spec::rflags::TF);
    EXPECT_TRUE(pushed_flags() & spec::rflags::TF);
}

// What the helper that found the fault has delivered is no step of the instruction.
TEST_P(Debug, AFaultOfASteppedInstructionLeavesItsHandlerUnstepped)
{
    constexpr u64 kAbsent = GuestMachine::kData + 0x3000;
    machine.put<u64>(GuestMachine::guest_pte(kAbsent), 0);
    for (int i = 0; i < 3; ++i) {
        machine.reset_state();
        machine.gpr(Gpr::rdx) = GuestMachine::kCode + 0x800;
        machine.code(GuestMachine::kCode + 0x800, std::array<u8, 3>{0x0f, 0x01, 0xc1}); // vmcall
        // The supervisor's ways are known, then a user that is stepped faults.
        EXPECT_EQ(machine.run({0xff, 0xe2}), ExitReason::VMCALL); // jmp rdx
        machine.user_mode();
        machine.vmcs.rflags |= spec::rflags::TF;
        machine.gpr(Gpr::rbx) = kAbsent;
        EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::VMCALL); // mov rax, [rbx]
        EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::PF));
        EXPECT_FALSE(machine.context.dr6 & spec::dr6::BS);
    }
}

TEST_P(Debug, PopfStartsSteppingBehindTheNextInstruction)
{
    machine.gpr(Gpr::rax) = spec::rflags::FIXED1 | spec::rflags::TF;
    EXPECT_EQ(machine.run({0x50, 0x9d, 0x90, 0x90}), ExitReason::VMCALL); // push rax; popf; nop; nop
    EXPECT_EQ(machine.handled_vector(), 1);
    EXPECT_EQ(pushed_rip(), GuestMachine::kCode + 3);
}

TEST_P(Debug, InstructionBreakpointIsAFaultAndRfHoldsItBack)
{
    machine.context.dr[0] = GuestMachine::kCode + 3;
    machine.vmcs.dr7 = dr7(kExecute, 0);
    EXPECT_EQ(machine.run({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc1}), ExitReason::VMCALL); // inc rax; inc rcx
    EXPECT_EQ(machine.handled_vector(), 1);
    EXPECT_EQ(pushed_rip(), GuestMachine::kCode + 3);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0u);
    EXPECT_EQ(machine.context.dr6 & 15, 1u);
    machine.vmcs.rip = GuestMachine::kCode + 3;
    machine.vmcs.rflags |= spec::rflags::RF;
    EXPECT_EQ(machine.enter(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 1u);
    EXPECT_EQ(machine.handled_vector(), -1);
}

// SDM: RF is cleared behind the instruction that it was set for. The VMCALL has a block of its own, to which
// the jump leads directly from the second time on.
TEST_P(Debug, RfDoesNotOutlastAnInstructionThatJumps)
{
    for (int i = 0; i < 4; ++i) {
        machine.vmcs.rflags |= spec::rflags::RF;
        EXPECT_EQ(machine.run({0xeb, 0x00}), ExitReason::VMCALL); // jmp to what follows
        EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 2);
        EXPECT_FALSE(machine.vmcs.rflags & spec::rflags::RF) << i;
    }
}

TEST_P(Debug, DataBreakpointTrapsBehindTheStore)
{
    machine.context.dr[0] = GuestMachine::kData + 4;
    machine.vmcs.dr7 = dr7(kWrite, 3);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    machine.gpr(Gpr::rax) = 0x55;
    // mov rcx, [rbx]; mov [rbx], al; mov [rbx], rax; nop
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x0b, 0x88, 0x03, 0x48, 0x89, 0x03, 0x90}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 1);
    EXPECT_EQ(pushed_rip(), GuestMachine::kCode + 8);
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData), 0x55u);
    EXPECT_EQ(machine.context.dr6 & 15, 1u);
}

// SDM: a trap behind each iteration; RF is pushed set behind all but the last.
TEST_P(Debug, SingleStepTrapsBehindEachIterationOfAStringInstruction)
{
    machine.gpr(Gpr::rcx) = 3;
    machine.gpr(Gpr::rdi) = GuestMachine::kData;
    machine.gpr(Gpr::rax) = 0x77;
    machine.vmcs.rflags |= spec::rflags::TF;
    ExitReason exit = machine.run({0xf3, 0xaa}); // rep stosb
    for (u64 left : {2u, 1u, 0u}) {
        ASSERT_EQ(exit, ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), 1);
        EXPECT_EQ(machine.gpr(Gpr::rcx), left);
        EXPECT_EQ(machine.gpr(Gpr::rdi), GuestMachine::kData + 3 - left);
        EXPECT_EQ(pushed_rip(), GuestMachine::kCode + (left ? 0 : 2));
        EXPECT_EQ((pushed_flags() & spec::rflags::RF) != 0, left != 0);
        machine.vmcs.rip = pushed_rip();
        machine.vmcs.rflags = pushed_flags();
        if (left)
            exit = machine.enter();
    }
    EXPECT_EQ(machine.get<u32>(GuestMachine::kData), 0x777777u);
}

TEST_P(Debug, DataBreakpointTrapsBehindTheIterationThatMetIt)
{
    machine.context.dr[0] = GuestMachine::kData + 4;
    machine.vmcs.dr7 = dr7(kWrite, 0);
    machine.gpr(Gpr::rcx) = 8;
    machine.gpr(Gpr::rdi) = GuestMachine::kData;
    EXPECT_EQ(machine.run({0xf3, 0xaa}), ExitReason::VMCALL); // rep stosb
    EXPECT_EQ(machine.handled_vector(), 1);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 3u);
    EXPECT_EQ(pushed_rip(), GuestMachine::kCode);
    EXPECT_TRUE(pushed_flags() & spec::rflags::RF);
    EXPECT_EQ(machine.context.dr6 & 15, 1u);
    machine.vmcs.rip = pushed_rip();
    machine.vmcs.rflags = pushed_flags();
    machine.vmcs.dr7 = 0x400;
    EXPECT_EQ(machine.enter(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0u);
    EXPECT_FALSE(machine.vmcs.rflags & spec::rflags::RF);
}

TEST_P(Debug, AlignmentCheckIsForUsersWhoAskForIt)
{
    machine.vmcs.cr0 |= spec::cr0::AM;
    machine.vmcs.rflags |= spec::rflags::AC;
    machine.gpr(Gpr::rbx) = GuestMachine::kData + 1;
    EXPECT_EQ(machine.run({0x8b, 0x03}), ExitReason::VMCALL); // mov eax, [rbx] in ring 0
    EXPECT_EQ(machine.handled_vector(), -1);
    machine.user_mode();
    EXPECT_EQ(machine.run({0x8b, 0x03}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 17);
}

TEST_P(Debug, DebugRegistersCanBeReadAndWritten)
{
    machine.gpr(Gpr::rax) = 0x123456;
    // mov dr0, rax; mov rcx, dr0; mov rdx, dr7
    EXPECT_EQ(machine.run({0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc1, 0x0f, 0x21, 0xfa}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0x123456u);
    EXPECT_EQ(machine.gpr(Gpr::rdx), 0x400u);
}

} // namespace
} // namespace seamless
