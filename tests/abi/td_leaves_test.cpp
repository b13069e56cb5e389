// SPDX-License-Identifier: Apache-2.0
// TDCALL leaves from the instruction in a guest, where the host below is KVM: what they tell of pages and of
// the module, what they refuse, and that KVM mends what they leave the TD for.
#include "abi/td_robot.h"
#include "spec/tdx_abi.h"

namespace seamless::abi {
namespace {

using spec::TdgLeaf;
using spec::TdxOperand;
using spec::TdxStatus;
constexpr u64 kPage = TdRobot::kPrivate;

class TdLeaves : public testing::Test {
  protected:
    Mailbox tdcall(TdgLeaf leaf, u64 rcx, u64 rdx, u64 r8)
    {
        Mailbox order{};
        order.order = Mailbox::tdcall;
        order.rax = spec::leaf_rax(leaf);
        order.rcx = rcx, order.rdx = rdx, order.r8 = r8;
        td.carry_out(0, order);
        const volatile Mailbox& done = td.mailbox();
        order.rax = done.rax, order.rcx = done.rcx, order.rdx = done.rdx, order.r8 = done.r8;
        return order;
    }
    static u64 invalid(TdxOperand operand) { return static_cast<u64>(TdxStatus::OPERAND_INVALID | operand); }

    Host host;
    TdRobot td{host};
};

TEST_F(TdLeaves, AttributesOfAPageThatKvmHasToAddFirst)
{
    Mailbox m = tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, kPage, 0, 0);
    EXPECT_EQ(m.rax, 0u);
    EXPECT_EQ(m.rcx, kPage | bit(62)) << "added, not accepted";
    m = tdcall(TdgLeaf::MEM_PAGE_ATTR_RD, kPage + kPageSize + 8, 0, 0);
    EXPECT_EQ(m.rax, 0u);
    EXPECT_EQ(m.rcx, (kPage + kPageSize) | bit(62));
    ASSERT_EQ(td.accept(kPage), 0u);
    EXPECT_EQ(tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, kPage, 0, 0).rcx, kPage);
    EXPECT_EQ(tdcall(TdgLeaf::MEM_PAGE_ATTR_RD, kPage, 0, 0).rcx, kPage);
    EXPECT_EQ(tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, kPage, bit(16), 0).rax, invalid(TdxOperand::RDX));
    EXPECT_EQ(tdcall(TdgLeaf::MEM_PAGE_ATTR_WR, kPage, 0, bit(16)).rax, invalid(TdxOperand::R8));
    EXPECT_EQ(tdcall(TdgLeaf::MEM_PAGE_ATTR_RD, TdRobot::kShared, 0, 0).rax, invalid(TdxOperand::RCX));
}

TEST_F(TdLeaves, AllFieldsOfTheModuleInOnePage)
{
    ASSERT_EQ(td.accept(kPage), 0u);
    const Mailbox m = tdcall(TdgLeaf::SYS_RDALL, 0, kPage, spec::md::kFirst);
    EXPECT_EQ(m.rax, 0u);
    EXPECT_EQ(m.r8, ~u64{0});
    EXPECT_GT(field(td.load(kPage), 15, 0), 256u);
    EXPECT_EQ(td.load(kPage + 8), spec::md::VENDOR_ID);
    EXPECT_EQ(td.load(kPage + 16), 0x8086u);
    EXPECT_EQ(tdcall(TdgLeaf::SYS_RDALL, 0, kPage + 8, 0).rax, invalid(TdxOperand::RDX));
    EXPECT_EQ(tdcall(TdgLeaf::SYS_RDALL, 0, kPage, bit(62)).rax,
              static_cast<u64>(TdxStatus::METADATA_FIELD_ID_INCORRECT));
}

} // namespace
} // namespace seamless::abi
