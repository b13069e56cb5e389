// SPDX-License-Identifier: Apache-2.0
// The processor runs code: moves, arithmetic, stack, flow, faults. Each case runs in both engine modes.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class Core : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Core, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Core, VmcallExitsAtOnce)
{
    EXPECT_EQ(machine.run({}), ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode);
    EXPECT_EQ(machine.vmcs.exit_instruction_len, 3u);
}

TEST_P(Core, MovesAndAddsRegisters)
{
    // mov rax, 5; mov r13, 7; add rax, r13; mov rsp, rax; mov r14, rsp; lea r15, [r14 + r13*4 + 3]
    EXPECT_EQ(
        machine.run({0x48, 0xc7, 0xc0, 5,    0,    0,    0,    0x49, 0xc7, 0xc5, 7,    0,    0,    0,
                     0x4c, 0x01, 0xe8, 0x48, 0x89, 0xc4, 0x49, 0x89, 0xe6, 0x4f, 0x8d, 0x7c, 0xae, 0x03}),
        ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 12u);
    EXPECT_EQ(machine.gpr(Gpr::r13), 7u);
    EXPECT_EQ(machine.gpr(Gpr::rsp), 12u);
    EXPECT_EQ(machine.gpr(Gpr::r14), 12u);
    EXPECT_EQ(machine.gpr(Gpr::r15), 12u + 28 + 3);
}

TEST_P(Core, LoadsAndStoresMemory)
{
    machine.put<u64>(GuestMachine::kData, 0x1122334455667788);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    // mov rax,[rbx]; mov [rbx+8],eax; movzx ecx, byte [rbx+1]; mov ah,[rbx+2]; add qword [rbx+16], 3
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03, 0x89, 0x43, 0x08, 0x0f, 0xb6, 0x4b, 0x01, 0x8a, 0x63, 0x02, 0x48,
                           0x83, 0x43, 0x10, 0x03}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 0x1122334455666688u);
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData + 8), 0x55667788u);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0x77u);
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData + 16), 3u);
}

// 15 bytes are allowed; what runs instead of them has REX and SIB besides.
TEST_P(Core, RunsInstructionsFullOfPrefixes)
{
    machine.put<u64>(GuestMachine::kData, 0x1122334455667788);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    // mov ax, [rbx]
    EXPECT_EQ(machine.run(
                  {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x8b, 0x03}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xffff, 0x7788u);
    machine.gpr(Gpr::r11) = GuestMachine::kData + 2;
    EXPECT_EQ(machine.run(
                  {0xf2, 0xf3, 0xf2, 0xf3, 0x66, 0x2e, 0x66, 0x66, 0xf2, 0xf3, 0x66, 0x66, 0x41, 0x8b, 0x0b}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xffff, 0x5566u);
    // lock (14 bytes): add [rbx], al
    EXPECT_EQ(
        machine.run({0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0xf0, 0x00, 0x03}),
        ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.get<u8>(GuestMachine::kData), 0x10u);
}

TEST_P(Core, IgnoresRexBeforeAnotherPrefix)
{
    machine.put<u64>(GuestMachine::kData, 0x1122334455667788);
    machine.gpr(Gpr::rdi) = GuestMachine::kData;
    machine.gpr(Gpr::rax) = ~u64{0};
    EXPECT_EQ(machine.run({0x48, 0x66, 0x8b, 0x07}), ExitReason::VMCALL); // rex.w; 66; mov ax, [rdi]
    EXPECT_EQ(machine.gpr(Gpr::rax), 0xffffffffffff7788u);
}

TEST_P(Core, PauseWithRexBIsAnExchange)
{
    machine.gpr(Gpr::rax) = 0xaaaa0000000a;
    machine.gpr(Gpr::r8) = 0xbbbb0000000b;
    EXPECT_EQ(machine.run({0xf3, 0x49, 0x90}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 0xbbbb0000000bu);
    EXPECT_EQ(machine.run({0xf3, 0x41, 0x90, 0xf3, 0x90}), ExitReason::VMCALL); // 32 bits; and a PAUSE
    EXPECT_EQ(machine.gpr(Gpr::rax), 0xau);
    EXPECT_EQ(machine.gpr(Gpr::r8), 0xbu);
}

TEST_P(Core, Refuses16BitAddressesIn32BitCode)
{
    machine.vmcs.seg[static_cast<int>(spec::Seg::cs)].ar = 0xc09b; // 32-bit code in long mode
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    EXPECT_EQ(machine.run({0x67, 0x8b, 0x07}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 6);
}

TEST_P(Core, Refuses16BitCode)
{
    machine.vmcs.seg[static_cast<int>(spec::Seg::cs)].ar = 0x009b;
    EXPECT_EQ(machine.run({0x89, 0xd8}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 6);
}

TEST_P(Core, CrossesPages)
{
    machine.put<u64>(GuestMachine::kData + 0xffc, 0x0102030405060708);
    machine.gpr(Gpr::rbx) = GuestMachine::kData + 0xffc;
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03, 0x48, 0xff, 0x03}),
              ExitReason::VMCALL); // mov rax,[rbx]; inc qword [rbx]
    EXPECT_EQ(machine.gpr(Gpr::rax), 0x0102030405060708u);
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData + 0xffc), 0x0102030405060709u);
}

TEST_P(Core, PushesAndPops)
{
    machine.gpr(Gpr::rax) = 0x1234;
    // push rax; push 0x55; pop rcx; pop r15; push rsp; pop rdx
    EXPECT_EQ(machine.run({0x50, 0x6a, 0x55, 0x59, 0x41, 0x5f, 0x54, 0x5a}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0x55u);
    EXPECT_EQ(machine.gpr(Gpr::r15), 0x1234u);
    EXPECT_EQ(machine.gpr(Gpr::rdx), GuestMachine::kStack);
    EXPECT_EQ(machine.gpr(Gpr::rsp), GuestMachine::kStack);
}

TEST_P(Core, CallsAndReturns)
{
    // call +3; jmp +4 ; (fn:) mov al, 7; ret ; nop...
    EXPECT_EQ(machine.run({0xe8, 2, 0, 0, 0, 0xeb, 3, 0xb0, 7, 0xc3}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, 7u);
    EXPECT_EQ(machine.gpr(Gpr::rsp), GuestMachine::kStack);
}

TEST_P(Core, LoopsUntilTheCounterIsZero)
{
    // mov ecx, 1000; l: add rax, rcx; dec ecx; jnz l
    EXPECT_EQ(machine.run({0xb9, 0xe8, 3, 0, 0, 0x48, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xf9}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 500500u);
}

TEST_P(Core, DividesByZeroAsAnException)
{
    machine.gpr(Gpr::rax) = 17;
    EXPECT_EQ(machine.run({0x31, 0xc9, 0xf7, 0xf1}), ExitReason::VMCALL); // xor ecx,ecx; div ecx
    EXPECT_EQ(machine.handled_vector(), 0);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), GuestMachine::kCode + 2); // a fault: RIP of the DIV
    EXPECT_EQ(machine.gpr(Gpr::rax), 17u);
}

TEST_P(Core, FaultsOnPagesThatAreNotThere)
{
    machine.gpr(Gpr::rbx) = 0x40000000;
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 14);
    EXPECT_EQ(machine.context.cr2, 0x40000000u);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), 0u); // not present, read, supervisor
}

TEST_P(Core, RaisesUdForUd2)
{
    EXPECT_EQ(machine.run({0x0f, 0x0b}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 6);
}

TEST_P(Core, MisalignedVectorMoveIsGp)
{
    machine.gpr(Gpr::rbx) = GuestMachine::kData + 8;
    EXPECT_EQ(machine.run({0x0f, 0x28, 0x03}), ExitReason::VMCALL); // movaps xmm0, [rbx]
    EXPECT_EQ(machine.handled_vector(), 13);
}

TEST_P(Core, KeepsVectorStateAcrossExits)
{
    machine.put<u64>(GuestMachine::kData, 0x1111);
    machine.put<u64>(GuestMachine::kData + 8, 0x2222);
    machine.gpr(Gpr::rbx) = GuestMachine::kData;
    EXPECT_EQ(machine.run({0x0f, 0x28, 0x0b}), ExitReason::VMCALL); // movaps xmm1, [rbx]
    __asm__ volatile("pxor %%xmm1, %%xmm1" ::: "xmm1");
    EXPECT_EQ(machine.run({0x66, 0x0f, 0xd4, 0xc9, 0x0f, 0x29, 0x4b, 0x20}),
              ExitReason::VMCALL); // paddq xmm1,xmm1; movaps [rbx+32],xmm1
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData + 32), 0x2222u);
    EXPECT_EQ(machine.get<u64>(GuestMachine::kData + 40), 0x4444u);
}

TEST_P(Core, MovesStrings)
{
    for (u64 i = 0; i < 5000; ++i)
        machine.put<u8>(GuestMachine::kData + i, static_cast<u8>(i * 7));
    machine.gpr(Gpr::rsi) = GuestMachine::kData;
    machine.gpr(Gpr::rdi) = GuestMachine::kData + 0x3001;
    machine.gpr(Gpr::rcx) = 5000;
    EXPECT_EQ(machine.run({0xf3, 0xa4}), ExitReason::VMCALL);
    EXPECT_EQ(std::memcmp(machine.at(GuestMachine::kData), machine.at(GuestMachine::kData + 0x3001), 5000),
              0);
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0u);
    EXPECT_EQ(machine.gpr(Gpr::rsi), GuestMachine::kData + 5000);
}

TEST_P(Core, GoesToUserModeAndBack)
{
    machine.context.lstar = GuestMachine::kHandlers + 0x800; // VMCALL there
    machine.context.star = u64{0x13} << 48 | u64{GuestMachine::kCs} << 32;
    machine.context.fmask = spec::rflags::IF;
    machine.user_mode();
    EXPECT_EQ(machine.run({0x0f, 0x05}), ExitReason::VMCALL); // syscall
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kHandlers + 0x800);
    EXPECT_EQ(machine.gpr(Gpr::rcx), GuestMachine::kCode + 2);
    EXPECT_EQ(machine.vmcs.seg[static_cast<int>(spec::Seg::ss)].ar >> 5 & 3, 0u);
}

TEST_P(Core, InterruptsFromUserModeUseTheTssStack)
{
    machine.user_mode();
    EXPECT_EQ(machine.run({0xcd, 0x80}), ExitReason::VMCALL); // int 0x80
    EXPECT_EQ(machine.handled_vector(), 0x80);
    EXPECT_EQ(machine.vmcs.rsp, GuestMachine::kStack - 0x10000 - 40);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), GuestMachine::kCode + 2);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp + 8), GuestMachine::kUserCs);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp + 24), GuestMachine::kStack);
}

TEST_P(Core, TripleFaultsWithoutAnIdt)
{
    machine.vmcs.idtr.limit = 0;
    EXPECT_EQ(machine.run({0x0f, 0x0b}), ExitReason::TRIPLE_FAULT);
}

// Code may lie at linear address 0, or nothing: an indirect jump there finds either.
TEST_P(Core, AJumpToLinearAddressZero)
{
    machine.code(0, std::array<u8, 2>{0xff, 0xe2}); // jmp rdx
    machine.code(GuestMachine::kCode + 0x100, std::array<u8, 3>{0x0f, 0x01, 0xc1});
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = 0;
        machine.gpr(Gpr::rdx) = GuestMachine::kCode + 0x100;
        EXPECT_EQ(machine.run({0xff, 0xe0}), ExitReason::VMCALL); // jmp rax
        EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 0x100);
    }
    machine.put<u64>(GuestMachine::guest_pte(0), 0);
    machine.lp.invept_all();
    EXPECT_EQ(machine.run({0xff, 0xe0}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 14);
}

// What holds for one instruction does not show at an exit of the one behind it. SDM: RFLAGS.RF,
// "Interruptibility State".
TEST_P(Core, CliAndStdKeepTheArithmeticFlags)
{
    using namespace spec::rflags;
    machine.vmcs.rflags |= IF;
    // mov al, 0x7f; add al, 1; cli; seto bl; setc cl; std; sets dl; pushfq; pop rsi; cld; pushfq; pop rdi
    ASSERT_EQ(machine.run({0xb0, 0x7f, 0x04, 1,    0xfa, 0x0f, 0x90, 0xc3, 0x0f, 0x92,
                           0xc1, 0xfd, 0x0f, 0x98, 0xc2, 0x9c, 0x5e, 0xfc, 0x9c, 0x5f}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rbx) & 0xff, 1u);
    EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xff, 0u);
    EXPECT_EQ(machine.gpr(Gpr::rdx) & 0xff, 1u);
    EXPECT_EQ(machine.gpr(Gpr::rsi), FIXED1 | AF | SF | OF | DF);
    EXPECT_EQ(machine.gpr(Gpr::rdi), FIXED1 | AF | SF | OF);
    // sti; nop; cli; std; xor eax, eax: the flags are dead in between
    ASSERT_EQ(machine.run({0xfb, 0x90, 0xfa, 0xfd, 0x31, 0xc0}), ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rflags, FIXED1 | ZF | PF | DF);
}

TEST_P(Core, ShadowsEndWithTheFirstInstruction)
{
    machine.set_entry(Gpa(GuestMachine::kData), spec::ept::SUPPRESS_VE);
    machine.lp.invept_all();
    for (const bool first : {true, false}) {
        machine.vmcs.rflags |= spec::rflags::IF | spec::rflags::RF;
        machine.vmcs.interruptibility = spec::interruptibility::STI;
        machine.gpr(Gpr::rbx) = GuestMachine::kData;
        // mov rax, [rbx]; behind NOT RDX, or not
        const ExitReason exit =
            first ? machine.run({0x48, 0x8b, 0x03}) : machine.run({0x48, 0xf7, 0xd2, 0x48, 0x8b, 0x03});
        EXPECT_EQ(exit, ExitReason::EPT_VIOLATION);
        EXPECT_EQ(machine.vmcs.interruptibility, first ? spec::interruptibility::STI : 0u);
        EXPECT_EQ((machine.vmcs.rflags & spec::rflags::RF) != 0, first);
    }
    machine.vmcs.rflags |= spec::rflags::RF;
    machine.gpr(Gpr::rdi) = GuestMachine::kData + 0x1000;
    machine.gpr(Gpr::rcx) = 4;
    EXPECT_EQ(machine.run({0xf3, 0xaa}), ExitReason::VMCALL); // rep stosb; vmcall
    EXPECT_FALSE(machine.vmcs.rflags & spec::rflags::RF);
}

} // namespace
} // namespace seamless
