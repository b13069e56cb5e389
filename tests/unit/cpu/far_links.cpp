// SPDX-License-Identifier: Apache-2.0
// Jumps and calls into other pages, often enough to be linked, when those pages change: their bytes, what is
// mapped there, and from where the code that jumps is seen.
#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <thread>

#include "cpu/translate/far_links.h"
#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

constexpr u64 kFunction = 0x11000, kOther = 0x12000; // behind the page of the code
constexpr u8 kRounds = 200;

class FarLinks : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    FarLinks()
    {
        machine.code(kFunction, std::array<u8, 3>{0x04, 1, 0xc3}); // add al, 1; ret
        machine.code(kOther, std::array<u8, 3>{0x04, 2, 0xc3});    // add al, 2; ret
        machine.gpr(Gpr::rax) = 0;
    }
    // mov ecx, rounds; l: call kFunction; dec ecx; jnz l, and what follows
    ExitReason run_calls(std::initializer_list<u8> behind)
    {
        std::vector<u8> code = {0xb9, kRounds, 0, 0, 0, 0xe8, 0xf6, 0x0f, 0, 0, 0xff, 0xc9, 0x75, 0xf7};
        code.insert(code.end(), behind);
        return machine.run(code);
    }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, FarLinks, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(FarLinks, LeadToWhatIsMappedNow)
{
    machine.gpr(Gpr::rbx) = GuestMachine::guest_pte(kFunction);
    machine.gpr(Gpr::rdx) = kOther | 7;
    machine.gpr(Gpr::rsi) = kFunction;
    // mov [rbx], rdx; invlpg [rsi]; call kFunction
    ASSERT_EQ(run_calls({0x48, 0x89, 0x13, 0x0f, 0x01, 0x3e, 0xe8, 0xe7, 0x0f, 0, 0}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), kRounds + 2u);
}

TEST_P(FarLinks, LeadToWhatAnotherAddressSpaceHas)
{
    machine.vmcs.cr4 &= ~spec::cr4::PGE;
    machine.gpr(Gpr::rbx) = GuestMachine::guest_pte(kFunction);
    machine.gpr(Gpr::rdx) = kOther | 7;
    // mov [rbx], rdx; mov rdi, cr3; mov cr3, rdi; call kFunction
    ASSERT_EQ(run_calls({0x48, 0x89, 0x13, 0x0f, 0x20, 0xdf, 0x0f, 0x22, 0xdf, 0xe8, 0xe4, 0x0f, 0, 0}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), kRounds + 2u);
}

TEST_P(FarLinks, LeadToCodeThatHasChanged)
{
    machine.gpr(Gpr::rbx) = kFunction + 1;
    // mov byte [rbx], 5; call kFunction
    ASSERT_EQ(run_calls({0xc6, 0x03, 5, 0xe8, 0xea, 0x0f, 0, 0}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, kRounds + 5u);
    machine.gpr(Gpr::rax) = 0; // and are linked again
    ASSERT_EQ(run_calls({}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, (kRounds * 5u) & 0xff);
}

// The same code at two addresses calls what lies behind each.
TEST_P(FarLinks, AreRightForOneAddress)
{
    constexpr u64 kAlias = 0x300000; // of the page with the code; kOther is seen behind it
    machine.map(Gpa(kAlias), machine.memory + GuestMachine::kCode, spec::ept::RWX);
    machine.code(kAlias + kPageSize, std::array<u8, 3>{0x04, 2, 0xc3});
    machine.lp.invept_all();
    machine.gpr(Gpr::rdx) = GuestMachine::kCode + 0x800;
    machine.gpr(Gpr::rbx) = kAlias + 0x800;
    // At + 0x800: call +0x1000 - 0x800; ret
    machine.code(GuestMachine::kCode + 0x800, std::array<u8, 6>{0xe8, 0xfb, 0x07, 0, 0, 0xc3});
    // mov ecx, rounds; l: call rdx; call rbx; dec ecx; jnz l
    ASSERT_EQ(machine.run({0xb9, 80, 0, 0, 0, 0xff, 0xd2, 0xff, 0xd3, 0xff, 0xc9, 0x75, 0xf8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 80u * 3);
}

// The function begins on one page and ends on the next, which is mapped anew.
TEST_P(FarLinks, LeadToBothPagesOfAnInstruction)
{
    constexpr u64 kSecond = 0x13000;
    const std::array<u8, 6> code{0x05, 1, 0, 0, 0, 0xc3}; // add eax, 1; ret
    machine.code(kOther - 3, code);
    std::copy(code.begin(), code.end(), machine.at(kSecond - 3)); // and with another second half
    *machine.at(kSecond) = 0, *machine.at(kSecond + 1) = 1, *machine.at(kSecond + 2) = 0xc3;
    machine.gpr(Gpr::rbx) = GuestMachine::guest_pte(kOther);
    machine.gpr(Gpr::rdx) = kSecond | 7;
    machine.gpr(Gpr::rsi) = kOther;
    // mov ecx, rounds; l: call kOther - 3; dec ecx; jnz l; mov [rbx], rdx; invlpg [rsi]; call kOther - 3
    ASSERT_EQ(machine.run({0xb9, kRounds, 0,    0,    0,    0xe8, 0xf3, 0x1f, 0,    0,    0xff, 0xc9, 0x75,
                           0xf7, 0x48,    0x89, 0x13, 0x0f, 0x01, 0x3e, 0xe8, 0xe4, 0x1f, 0,    0}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), kRounds + 1u + 0x01000000u);
}

// More often than there are epochs.
TEST_P(FarLinks, OutliveManyAddressSpaces)
{
    const u32 rounds = GetParam() == cpu::EngineMode::step ? 100 : 2 * cpu::FarLinks::kEpochs + 100;
    machine.vmcs.cr4 &= ~spec::cr4::PGE;
    machine.gpr(Gpr::rax) = 0;
    machine.gpr(Gpr::rdx) = 0;
    // add rdx, 1; ret
    machine.code(kFunction, std::array<u8, 5>{0x48, 0x83, 0xc2, 1, 0xc3});
    // mov ebx, rounds; m: mov ecx, 20; l: call kFunction; dec ecx; jnz l; mov rdi, cr3; mov cr3, rdi; dec
    // ebx; jnz m
    const auto b = [&](unsigned i) { return static_cast<u8>(rounds >> 8 * i); };
    ASSERT_EQ(
        machine.run({0xbb, b(0), b(1), 0,    0,    0xb9, 20,   0,    0,    0,    0xe8, 0xf1, 0x0f, 0,   0,
                     0xff, 0xc9, 0x75, 0xf7, 0x0f, 0x20, 0xdf, 0x0f, 0x22, 0xdf, 0xff, 0xcb, 0x75, 0xe8}),
        ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rdx), 20u * rounds);
}

// Forward without a look, backward with one.
TEST_P(FarLinks, ALoopOverPagesCanBeLeft)
{
    machine.code(kFunction, std::array<u8, 5>{0xe9, 0xfb, 0xef, 0xff, 0xff}); // jmp kCode
    machine.vmcs.pin_based |= spec::pin::EXTERNAL_INTERRUPT_EXITING;
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        machine.lp.send_interrupt(0x30);
    });
    EXPECT_EQ(machine.run({0xe9, 0xfb, 0x0f, 0, 0}), ExitReason::EXTERNAL_INTERRUPT); // jmp kFunction
    sender.join();
    EXPECT_TRUE(machine.lp.acknowledge_interrupts());
}

TEST(FarLinkBias, IsNeverTakenWhereItMustNotBe)
{
    using Links = cpu::FarLinks;
    for (const u64 rip : {u64{0}, u64{0xfff}, u64{0xffffffff81000123}, u64{0x7ffffffff000}})
        for (u64 epoch = 0; epoch < Links::kEpochs; epoch += 7)
            for (const u64 deep : {0, 1}) {
                EXPECT_NE(rip + epoch + deep + Links::unlinked(rip), 0u);
                for (u64 now = epoch; now < Links::kEpochs; now += 97)
                    for (const i64 pages : {i64{-1}, i64{0}, i64{1}, i64{1} << 35}) {
                        const u64 at = rip + static_cast<u64>(pages) * kPageSize;
                        const bool taken = at + now + deep + Links::bias(rip, epoch) == 0;
                        EXPECT_EQ(taken, pages == 0 && now == epoch && deep == 0);
                    }
            }
}

TEST(PageSet, HoldsPagesUntilItIsCleared)
{
    const auto set = std::make_unique<cpu::PageSet>();
    set->prepare();
    for (unsigned round = 0; round < 10'000; ++round) {
        EXPECT_FALSE(set->contains(round));
        set->insert(round);
        set->insert(round);
        set->insert(cpu::PageSet::before(0));
        EXPECT_TRUE(set->contains(round) && set->contains(cpu::PageSet::before(0)));
        EXPECT_FALSE(set->contains(round + 1));
        set->clear();
        EXPECT_FALSE(set->contains(round));
    }
}

TEST(PageSet, HoldsEveryPageWhereItIsFull)
{
    const auto set = std::make_unique<cpu::PageSet>();
    set->prepare();
    for (u64 page = 0; page < cpu::PageSet::kMost; ++page) {
        EXPECT_FALSE(set->contains(bit(40)));
        set->insert(page * 3);
    }
    EXPECT_TRUE(set->contains(bit(40)));
    set->clear();
    EXPECT_FALSE(set->contains(0));
}

} // namespace
} // namespace seamless
