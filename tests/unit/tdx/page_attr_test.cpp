// SPDX-License-Identifier: Apache-2.0
// TDG.MEM.PAGE.ATTR.RD: what a guest learns of its pages, and when the host hears of it.
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::Gpr;
constexpr u64 kInterrupted = 1; // RAX of a TD exit for an external interrupt

struct PageAttr : testing::Test, TdHost {
    void SetUp() override { build(); }

    void read(u64 gpa, TdxStatus status, u64 rcx)
    {
        tdcall(TdgLeaf::MEM_PAGE_ATTR_RD, {{Gpr::rcx, gpa}, {Gpr::rdx, 0x77}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) {
                   EXPECT_EQ(c[Gpr::rax], code(status));
                   EXPECT_EQ(c[Gpr::rcx], rcx);
                   EXPECT_EQ(c[Gpr::rdx], 0u);
               });
        EXPECT_EQ(code(enter(vcpu)), kInterrupted);
    }
    u64 exit_of(u64 gpa)
    {
        tdcall(TdgLeaf::MEM_PAGE_ATTR_RD, {{Gpr::rcx, gpa}, {Gpr::rdx, 0x77}});
        return code(enter(vcpu));
    }
};

TEST_F(PageAttr, MappedAndPendingPagesAreDescribed)
{
    read(kGpa, SUCCESS, kGpa);
    read(kGpa + 0x123, SUCCESS, kGpa);
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
    read(kGpa + 0x1000, SUCCESS, (kGpa + 0x1000) | bit(62));
}

TEST_F(PageAttr, AddressesThatAreNotPrivateAreRefused)
{
    constexpr u64 kShared = bit(47);
    read(kGpa | kShared, OPERAND_INVALID | TdxOperand::RCX, 0);
    read(kGpa | bit(52), OPERAND_INVALID | TdxOperand::RCX, 0);
    read(kGpa | bit(63), OPERAND_INVALID | TdxOperand::RCX, 0);
}

TEST_F(PageAttr, WhatIsNotMappedOrBlockedExits)
{
    EXPECT_EQ(exit_of(kGpa + 0x1234), 48u);
    EXPECT_EQ(out.rcx, 0u);
    EXPECT_EQ(out.rdx, 0u);
    EXPECT_EQ(out.r8, kGpa + 0x1000);
    ASSERT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(exit_of(kGpa), 48u);
    EXPECT_EQ(out.r8, kGpa);
    // Nothing of the guest has changed: it executes TDCALL again.
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history.back().gpr[static_cast<unsigned>(Gpr::rcx)], kGpa);
    EXPECT_EQ(lp().history.back().gpr[static_cast<unsigned>(Gpr::rdx)], 0x77u);
}

} // namespace
} // namespace seamless::tdx
