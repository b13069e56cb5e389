// SPDX-License-Identifier: Apache-2.0
// TDG.MEM.PAGE.ATTR.RD and ATTR.WR: what a guest learns of its pages, and when the host hears of it.
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

struct PageAttrWrite : PageAttr {
    void write(u64 rcx, u64 rdx, u64 r8, TdxStatus status, u64 rcx_after)
    {
        tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, {{Gpr::rcx, rcx}, {Gpr::rdx, rdx}, {Gpr::r8, r8}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) {
                   EXPECT_EQ(c[Gpr::rax], code(status));
                   EXPECT_EQ(c[Gpr::rcx], rcx_after);
                   EXPECT_EQ(c[Gpr::rdx], 0u);
               });
        EXPECT_EQ(code(enter(vcpu)), kInterrupted);
    }
    u64 exit_of_write(u64 rcx)
    {
        tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, {{Gpr::rcx, rcx}, {Gpr::rdx, 0}, {Gpr::r8, 0}});
        return code(enter(vcpu));
    }
};

TEST_F(PageAttrWrite, NothingIsThereToChangeWithoutL2Vms)
{
    write(kGpa, 0, 0, SUCCESS, kGpa);
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
    write(kGpa + 0x1000, 0, 0, SUCCESS, (kGpa + 0x1000) | bit(62));
}

TEST_F(PageAttrWrite, AttributesOfVmsThatAreNotThereAreRefused)
{
    using enum TdxOperand;
    for (unsigned vm = 0; vm < 4; ++vm) {
        write(kGpa, u64{0x8001} << 16 * vm, 0, OPERAND_INVALID | RDX, 0);
        write(kGpa, 0, u64{1} << 16 * vm, OPERAND_INVALID | R8, 0);
    }
    write(kGpa, u64{1} << 48, 1, OPERAND_INVALID | R8, 0); // VM by VM
    write(kGpa | 8, 0, 1, OPERAND_INVALID | R8, 0);        // before the address
}

TEST_F(PageAttrWrite, AddressesAreChecked)
{
    const auto refused = OPERAND_INVALID | TdxOperand::RCX;
    write(kGpa | 8, 0, 0, refused, 0);
    write(kGpa | 3, 0, 0, refused, 0);
    write((kGpa + 0x1000) | 1, 0, 0, refused, 0);
    write(kGpa | bit(47), 0, 0, refused, 0);
    write(kGpa | bit(52), 0, 0, refused, 0);
    write((kGpa & ~u64{0x1fffff}) | 1, 0, 0, PAGE_SIZE_MISMATCH | 1u, 0);
}

TEST_F(PageAttrWrite, WhatTheHostCanMendExits)
{
    EXPECT_EQ(exit_of_write(kGpa + 0x1000), 48u);
    EXPECT_EQ(out.rcx, 2u);
    EXPECT_EQ(out.rdx, 5u) << "4 KiB wanted, FREE found at level 0";
    EXPECT_EQ(out.r8, kGpa + 0x1000);
    EXPECT_EQ(exit_of_write(0x40000000), 48u);
    EXPECT_EQ(out.rdx, 5u | u64{2} << 35) << "no table below level 2";
    ASSERT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(exit_of_write(kGpa), 48u);
    EXPECT_EQ(out.rdx, 5u | u64{1} << 38 | u64{1} << 46) << "a blocked leaf";
}

} // namespace
} // namespace seamless::tdx
