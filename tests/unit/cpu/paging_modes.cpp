// SPDX-License-Identifier: Apache-2.0
// Walks of five levels, and pages of 1 GiB. SDM: "Paging".
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;

constexpr u64 kPresent = 1, kUserRw = 7, kAccessed = 0x20, kDirty = 0x40, kLarge = 0x80;
constexpr u64 kPdpt = GuestMachine::kPml4 + 0x1000;

class PagingModes : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    static constexpr u64 kPml5 = 0x40000;
    static constexpr u64 kGib = u64{1} << 30;

    // mov al, [rsi]; mov [rsi + 1], al
    void touch(u64 gva)
    {
        machine.gpr(Gpr::rsi) = gva;
        machine.gpr(Gpr::rax) = 0;
        machine.lp.invept_all();
        ASSERT_EQ(machine.run({0x8a, 0x06, 0x88, 0x46, 0x01}), ExitReason::VMCALL);
    }
    void expect_touched(u64 gpa)
    {
        EXPECT_EQ(machine.handled_vector(), -1);
        EXPECT_EQ(machine.gpr(Gpr::rax), 0x5au);
        EXPECT_EQ(machine.get<u8>(gpa + 1), 0x5a);
    }
    void expect_page_fault(u64 gva, u32 code)
    {
        EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::PF));
        EXPECT_EQ(machine.context.cr2, gva);
        EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), code);
    }
    void five_levels()
    {
        machine.vmcs.cr4 |= spec::cr4::LA57;
        machine.vmcs.cr3 = kPml5;
        machine.put<u64>(kPml5, GuestMachine::kPml4 | kUserRw);
    }

    GuestMachine machine{GetParam()};
    PagingModes() { machine.put<u16>(GuestMachine::kData, 0x5a); }
};
INSTANTIATE_TEST_SUITE_P(Modes, PagingModes, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(PagingModes, FiveLevelsTranslate57Bits)
{
    five_levels();
    machine.put<u64>(kPml5 + 8 * 5, GuestMachine::kPml4 | kUserRw);
    touch(u64{5} << 48 | GuestMachine::kData);
    expect_touched(GuestMachine::kData);
    EXPECT_TRUE(machine.get<u64>(kPml5 + 8 * 5) & kAccessed);
}

TEST_P(PagingModes, AnEntryOfTheFifthLevelCanBeMissing)
{
    five_levels();
    const u64 gva = u64{6} << 48 | GuestMachine::kData;
    touch(gva);
    expect_page_fault(gva, 0);
    machine.vmcs.rip = GuestMachine::kCode;
    machine.put<u64>(kPml5 + 8 * 6, GuestMachine::kPml4 | kLarge | kUserRw);
    touch(gva);
    expect_page_fault(gva, 9); // a reserved bit
}

TEST_P(PagingModes, WithFourLevelsTheSameAddressIsNotCanonical)
{
    touch(u64{5} << 48 | GuestMachine::kData);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::GP));
}

TEST_P(PagingModes, APageOf1Gib)
{
    machine.put<u64>(kPdpt + 8, kLarge | kUserRw);
    touch(kGib + GuestMachine::kData);
    expect_touched(GuestMachine::kData);
    EXPECT_EQ(machine.get<u64>(kPdpt + 8), kLarge | kUserRw | kAccessed | kDirty);
}

TEST_P(PagingModes, APageOf1GibHasReservedBits)
{
    for (const u64 bit : {u64{1} << 13, u64{1} << 29}) {
        machine.put<u64>(kPdpt + 8, bit | kLarge | kUserRw);
        touch(kGib + GuestMachine::kData);
        expect_page_fault(kGib + GuestMachine::kData, 9);
    }
    machine.put<u64>(kPdpt + 8, kLarge | kPresent); // read-only
    touch(kGib + GuestMachine::kData);
    expect_page_fault(kGib + GuestMachine::kData + 1, 3);
}

} // namespace
} // namespace seamless
