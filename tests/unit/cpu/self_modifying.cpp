// SPDX-License-Identifier: Apache-2.0
// Code that changes: by itself, through an alias, by another processor, by the host.
#include <gtest/gtest.h>
#include <thread>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class SelfModifying : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, SelfModifying, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(SelfModifying, TheNextInstructionOfTheSameBlock)
{
    // mov byte [rip + 1], 42 (the immediate of the next instruction); mov al, 0
    for (int i = 0; i < 3; ++i) {
        machine.gpr(Gpr::rax) = 0;
        EXPECT_EQ(machine.run({0xc6, 0x05, 0x01, 0, 0, 0, 42, 0xb0, 0}), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax), 42u) << i;
    }
}

TEST_P(SelfModifying, AFunctionThatIsCalledAgain)
{
    constexpr u64 kFunction = 0x20000;
    machine.code(kFunction, std::array<u8, 3>{0x04, 1, 0xc3}); // add al, 1; ret
    machine.gpr(Gpr::rbx) = kFunction + 1;
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rax) = 0;
    // mov ecx, 10; l: call rdx; inc byte [rbx]; dec ecx; jnz l
    EXPECT_EQ(machine.run({0xb9, 10, 0, 0, 0, 0xff, 0xd2, 0xfe, 0x03, 0xff, 0xc9, 0x75, 0xf8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 55u);
}

TEST_P(SelfModifying, ThroughAnAlias)
{
    constexpr u64 kFunction = 0x20000;
    constexpr u64 kAlias = 0x300000; // mapped to the same page
    machine.map(Gpa(kAlias), machine.memory + kFunction, spec::ept::RWX);
    machine.lp.invept_all();
    machine.code(kFunction, std::array<u8, 3>{0x04, 1, 0xc3});
    machine.gpr(Gpr::rbx) = kAlias + 1;
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rax) = 0;
    EXPECT_EQ(machine.run({0xb9, 10, 0, 0, 0, 0xff, 0xd2, 0xfe, 0x03, 0xff, 0xc9, 0x75, 0xf8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 55u);
}

TEST_P(SelfModifying, ByAStringInstruction)
{
    constexpr u64 kFunction = 0x20000;
    machine.code(kFunction, std::array<u8, 3>{0x04, 1, 0xc3});
    machine.put<u8>(GuestMachine::kData, 9);
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rax) = 0;
    machine.gpr(Gpr::rsi) = GuestMachine::kData;
    machine.gpr(Gpr::rdi) = kFunction + 1;
    EXPECT_EQ(machine.run({0xff, 0xd2, 0xa4, 0xff, 0xd2}), ExitReason::VMCALL); // call rdx; movsb; call rdx
    EXPECT_EQ(machine.gpr(Gpr::rax), 10u);
}

TEST_P(SelfModifying, AStoreThatPushesOverItsOwnBlock)
{
    // The stack lies over the code behind the PUSH: what it writes is what runs next.
    machine.vmcs.rsp = GuestMachine::kCode + 16;
    machine.gpr(Gpr::rcx) = 0x9090909090c1010f; // vmcall; nops
    // push rcx at +8..+15; then nops up to +8
    EXPECT_EQ(machine.run({0x51, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x0b, 0x0f, 0x0b, 0x0f, 0x0b,
                           0x0f, 0x0b}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 8);
}

// An instruction on two pages, of which the second changes: its bytes, and then what is mapped there.
TEST_P(SelfModifying, ABlockOnTwoPages)
{
    constexpr u64 kFunction = 0x20fff; // mov al, imm8 begins on the last byte of its page
    constexpr u64 kOther = 0x300000;
    machine.code(kFunction, std::array<u8, 3>{0xb0, 1, 0xc3});
    machine.code(kOther, std::array<u8, 2>{3, 0xc3});
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rbx) = kFunction + 1;
    // call rdx twice; mov cl, al; inc byte [rbx]; call rdx
    EXPECT_EQ(machine.run({0xff, 0xd2, 0xff, 0xd2, 0x88, 0xc1, 0xfe, 0x03, 0xff, 0xd2}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xff, 1u);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, 2u);
    machine.map(Gpa(kFunction + 1), machine.memory + kOther, spec::ept::RWX);
    machine.lp.invept_all();
    EXPECT_EQ(machine.run({0xff, 0xd2}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, 3u);
}

// INVLPG of the second page is enough to see what is mapped there now: SDM, "Invalidation of TLBs".
TEST_P(SelfModifying, ASecondPageThatIsMappedAnew)
{
    constexpr u64 kFunction = 0x20fff;
    constexpr u64 kOther = 0x300000;
    machine.code(kFunction, std::array<u8, 3>{0xb0, 1, 0xc3});
    machine.code(kOther, std::array<u8, 2>{3, 0xc3});
    const u64 pte = machine.guest_pte(kFunction + 1);
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rbx) = kFunction + 1;
    machine.gpr(Gpr::rsi) = pte;
    machine.gpr(Gpr::rdi) = (machine.get<u64>(pte) & 0xfff) | kOther;
    // call rdx (often enough for the jump cache); mov cl, al; mov [rsi], rdi; invlpg [rbx]; call rdx
    EXPECT_EQ(machine.run({0xff, 0xd2, 0xff, 0xd2, 0xff, 0xd2, 0x88, 0xc1, 0x48, 0x89, 0x3e, 0x0f, 0x01, 0x3b,
                           0xff, 0xd2}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xff, 1u);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, 3u);
}

TEST_P(SelfModifying, TheHostBetweenEntries)
{
    for (u8 value = 1; value < 5; ++value) {
        EXPECT_EQ(machine.run({0xb0, value}), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, value);
    }
}

// Often enough for the page to be remembered as a whole: what was there before comes back, is seen to come
// back, and so is code beside it that had not run yet.
TEST_P(SelfModifying, TheHostPutsBackWhatWasThere)
{
    constexpr u64 kFunction = 0x20000, kBeside = 0x20800;
    machine.code(kBeside, std::array<u8, 3>{0xb1, 0, 0xc3}); // mov cl, 0; ret
    machine.gpr(Gpr::rdx) = kFunction;
    machine.gpr(Gpr::rbx) = kBeside;
    for (u8 turn = 0; turn < 24; ++turn) {
        const u8 value = turn % 8 < 4 ? 1 : 2;
        const u8 beside = turn / 2 % 4;
        machine.code(kFunction, std::array<u8, 3>{0xb0, value, 0xc3}); // mov al, imm8; ret
        machine.code(kBeside + 1, std::array<u8, 1>{beside});
        EXPECT_EQ(machine.run({0xff, 0xd2}), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, value) << +turn;
        if (turn % 3 == 0)
            continue; // translated later than the page was looked at
        EXPECT_EQ(machine.run({0xff, 0xd3}), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xff, beside) << +turn;
    }
}

// Data beside the code changes between all entries; the code is compared by itself then.
TEST_P(SelfModifying, TheHostWritesDataBesideCode)
{
    constexpr u64 kFunction = 0x20000;
    machine.gpr(Gpr::rdx) = kFunction;
    for (u8 turn = 0; turn < 12; ++turn) {
        const u8 value = turn / 4;
        machine.code(kFunction, std::array<u8, 3>{0xb0, value, 0xc3});
        machine.put<u8>(kFunction + 0x100, turn);
        EXPECT_EQ(machine.run({0xff, 0xd2}), ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, value) << +turn;
    }
}

// Few pages that run are compared at each entry, many are fetched again.
TEST_P(SelfModifying, TheHostChangesOneOfFewOrManyPages)
{
    const auto function = [](unsigned i) { return 0x20000 + u64{i} * kPageSize; };
    for (const unsigned pages : {3u, 12u}) {
        std::vector<u8> values(pages, 1);
        for (unsigned i = 0; i < pages; ++i)
            machine.code(function(i), std::array<u8, 3>{0xb0, 1, 0xc3}); // mov al, imm8; ret
        for (unsigned turn = 0; turn < 8 * pages; ++turn) {
            if (const unsigned changed = turn / 2; turn % 2) {
                ++values[changed % pages];
                machine.code(function(changed % pages) + 1, std::array<u8, 1>{values[changed % pages]});
            }
            for (const unsigned i : {turn % pages, turn / 2 % pages}) {
                machine.gpr(Gpr::rdx) = function(i);
                EXPECT_EQ(machine.run({0xff, 0xd2}), ExitReason::VMCALL);
                EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, values[i]) << turn << " " << i;
            }
        }
    }
}

// A loop that calls a function without end, and another processor that writes its immediate: SDM,
// "Cross-modifying code". The loop ends when it has seen the new code.
TEST_P(SelfModifying, AnotherProcessor)
{
    trace::Tracer tracer;
    cpu::Package two(2, cpu::make_processor(GetParam()), *machine.host, machine.clock, machine.random,
                     tracer);
    constexpr u64 kFunction = 0x20000;
    constexpr u64 kWriter = 0x30000;
    machine.code(kFunction, std::array<u8, 3>{0xb0, 1, 0xc3}); // mov al, 1; ret
    // l: call rdx; cmp al, 2; jne l; vmcall
    machine.code(GuestMachine::kCode, std::array<u8, 9>{0xff, 0xd2, 0x3c, 2, 0x75, 0xfa, 0x0f, 0x01, 0xc1});
    // mov byte [rbx], 7 first (a write tag while nobody runs code there); pause; ... ; mov byte [rbx], 2;
    // vmcall
    std::vector<u8> writer = {0x8a, 0x03}; // mov al, [rbx]
    writer.insert(writer.end(),
                  {0xb9, 0x00, 0x00, 0x10, 0x00, 0xff, 0xc9, 0x75, 0xfc}); // mov ecx, 1M; l: dec ecx; jnz l
    writer.insert(writer.end(), {0xc6, 0x03, 2, 0x0f, 0x01, 0xc1});
    machine.code(kWriter, writer);

    cpu::Vmcs loop_vmcs = machine.vmcs;
    cpu::GuestContext loop_context = machine.context;
    loop_vmcs.rip = GuestMachine::kCode;
    loop_context[Gpr::rdx] = kFunction;
    std::thread looper([&] { two.lp(0).vm_enter(loop_vmcs, loop_context); });

    cpu::Vmcs writer_vmcs = machine.vmcs;
    cpu::GuestContext writer_context = machine.context;
    writer_vmcs.rip = kWriter;
    writer_vmcs.rsp = GuestMachine::kStack - 0x4000;
    writer_context[Gpr::rbx] = kFunction + 1;
    two.lp(1).vm_enter(writer_vmcs, writer_context);
    looper.join();
    EXPECT_EQ(loop_vmcs.rip, GuestMachine::kCode + 6);
    EXPECT_EQ(writer_context[Gpr::rcx], 0u);
}

} // namespace
} // namespace seamless
