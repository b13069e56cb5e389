// SPDX-License-Identifier: Apache-2.0
// Neighbouring accesses that share a lookup: what they do where it fails must be what each would do alone.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class Stretches : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    void SetUp() override
    {
        machine.gpr(Gpr::rax) = 0xa1;
        machine.gpr(Gpr::rcx) = 0xc1;
        machine.gpr(Gpr::rdx) = 0xd1;
        machine.gpr(Gpr::rbx) = GuestMachine::kData;
    }
    void permit(u64 gpa, u64 permissions)
    {
        machine.map(Gpa(gpa), machine.memory + gpa, permissions);
        machine.lp.invept_all();
    }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Stretches, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Stretches, PushesGoOnInTheNextPage)
{
    for (int i = 0; i < 3; ++i) {
        machine.vmcs.rsp = GuestMachine::kStack + 16;
        ASSERT_EQ(machine.run({0x50, 0x51, 0x52, 0x50}), ExitReason::VMCALL); // push rax, rcx, rdx, rax
        EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack - 16);
        EXPECT_EQ(machine.get<u64>(GuestMachine::kStack + 8), 0xa1u);
        EXPECT_EQ(machine.get<u64>(GuestMachine::kStack), 0xc1u);
        EXPECT_EQ(machine.get<u64>(GuestMachine::kStack - 8), 0xd1u);
        EXPECT_EQ(machine.get<u64>(GuestMachine::kStack - 16), 0xa1u);
    }
}

TEST_P(Stretches, ThePushThatFaultsHasNotMovedTheStack)
{
    permit(GuestMachine::kStack - kPageSize, 0);
    for (int i = 0; i < 3; ++i) {
        machine.vmcs.rsp = GuestMachine::kStack + 16;
        ASSERT_EQ(machine.run({0x50, 0x51, 0x52, 0x50}), ExitReason::EPT_VIOLATION);
        EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack);
        EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 2);
        EXPECT_EQ(machine.get<u64>(GuestMachine::kStack), 0xc1u);
    }
}

TEST_P(Stretches, ReadsComeBeforeTheWriteThatFaults)
{
    machine.put<u64>(GuestMachine::kData, 5);
    machine.put<u64>(GuestMachine::kData + 8, 6);
    permit(GuestMachine::kData, spec::ept::R);
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = machine.gpr(Gpr::rcx) = 0;
        // mov rax, [rbx]; mov rcx, [rbx + 8]; mov [rbx + 16], rax
        ASSERT_EQ(machine.run({0x48, 0x8b, 0x03, 0x48, 0x8b, 0x4b, 0x08, 0x48, 0x89, 0x43, 0x10}),
                  ExitReason::EPT_VIOLATION);
        EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 7);
        EXPECT_EQ(machine.gpr(Gpr::rax), 5u);
        EXPECT_EQ(machine.gpr(Gpr::rcx), 6u);
    }
}

TEST_P(Stretches, ABaseThatIsLoadedEndsThem)
{
    machine.put<u64>(GuestMachine::kData, 5);
    machine.put<u64>(GuestMachine::kData + 8, GuestMachine::kData + 0x1000);
    machine.put<u64>(GuestMachine::kData + 0x1010, 7);
    // mov rax, [rbx]; mov rbx, [rbx + 8]; mov rcx, [rbx + 16]
    ASSERT_EQ(machine.run({0x48, 0x8b, 0x03, 0x48, 0x8b, 0x5b, 0x08, 0x48, 0x8b, 0x4b, 0x10}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 5u);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 7u);
}

TEST_P(Stretches, TheStackPointerIsFollowed)
{
    machine.vmcs.rsp = GuestMachine::kStack - 0x200;
    // push rax; sub rsp, 32; mov [rsp + 8], rcx; lea rsp, [rsp + 16]; mov rdx, [rsp - 8]; add rsp, 16; pop
    // rsi
    ASSERT_EQ(machine.run({0x50, 0x48, 0x83, 0xec, 0x20, 0x48, 0x89, 0x4c, 0x24, 0x08, 0x48, 0x8d, 0x64,
                           0x24, 0x10, 0x48, 0x8b, 0x54, 0x24, 0xf8, 0x48, 0x83, 0xc4, 0x10, 0x5e}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack - 0x200);
    EXPECT_EQ(machine.gpr(Gpr::rdx), 0xc1u);
    EXPECT_EQ(machine.gpr(Gpr::rsi), 0xa1u);
}

TEST_P(Stretches, PoppingTheStackPointerEndsThem)
{
    machine.vmcs.rsp = GuestMachine::kStack - 0x200;
    machine.put<u64>(GuestMachine::kStack - 0x200, 1);
    machine.put<u64>(GuestMachine::kStack - 0x1f8, GuestMachine::kData);
    machine.put<u64>(GuestMachine::kData, 9);
    ASSERT_EQ(machine.run({0x58, 0x5c, 0x59}), ExitReason::VMCALL); // pop rax; pop rsp; pop rcx
    EXPECT_EQ(machine.gpr(Gpr::rcx), 9u);
    EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kData + 8);
}

TEST_P(Stretches, StoresOverTheBlockItself)
{
    machine.gpr(Gpr::rbx) = GuestMachine::kCode + 6;
    machine.gpr(Gpr::rax) = 0x2a;
    machine.gpr(Gpr::rcx) = 0x2b;
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rdx) = 0;
        // mov [rbx + 1], al; mov [rbx + 3], cl; mov dl, 1; mov dh, 2
        ASSERT_EQ(machine.run({0x88, 0x43, 0x01, 0x88, 0x4b, 0x03, 0xb2, 0x01, 0xb6, 0x02}),
                  ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rdx), 0x2b2au) << i;
    }
}

// #NM or #UD in the middle: the access before it is done, the one behind it is not.
TEST_P(Stretches, ExtendedStateThatIsNotThere)
{
    // push rax; movups [rsp - 16], xmm0; pop rcx   and   push rax; fninit; pop rcx
    const std::vector<u8> access{0x50, 0x0f, 0x11, 0x44, 0x24, 0xf0, 0x59}, passive{0x50, 0xdb, 0xe3, 0x59};
    struct Case {
        std::vector<u8> code;
        u64 cr0, cr4;
        spec::Vector vector;
    };
    for (const Case& c :
         {Case{access, spec::cr0::TS, 0, spec::Vector::NM}, Case{access, spec::cr0::EM, 0, spec::Vector::UD},
          Case{access, 0, spec::cr4::OSFXSR, spec::Vector::UD},
          Case{passive, spec::cr0::TS, 0, spec::Vector::NM}}) {
        const u64 cr0 = machine.vmcs.cr0, cr4 = machine.vmcs.cr4;
        machine.vmcs.cr0 |= c.cr0;
        machine.vmcs.cr4 &= ~c.cr4;
        machine.vmcs.exception_bitmap = ~0u;
        machine.vmcs.rsp = GuestMachine::kStack - 0x200;
        ASSERT_EQ(machine.run(c.code), ExitReason::EXCEPTION_NMI);
        EXPECT_EQ(machine.vmcs.exit_intr_info & 0xff, static_cast<u32>(c.vector));
        EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 1);
        EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack - 0x208);
        machine.vmcs.cr0 = cr0;
        machine.vmcs.cr4 = cr4;
    }
}

TEST_P(Stretches, FlagsPassThrough)
{
    machine.put<u64>(GuestMachine::kData, 5);
    machine.put<u64>(GuestMachine::kData + 8, 6);
    // stc; mov rax, [rbx]; mov rcx, [rbx + 8]; adc rax, rcx
    ASSERT_EQ(machine.run({0xf9, 0x48, 0x8b, 0x03, 0x48, 0x8b, 0x4b, 0x08, 0x48, 0x11, 0xc8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 12u);
}

} // namespace
} // namespace seamless
