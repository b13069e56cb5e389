// SPDX-License-Identifier: Apache-2.0
// Leaves that change the tree below a TD, and those with which the host of a debug TD looks into it.
#include "paging/ept_walk.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::Gpr;
namespace md = spec::md;
constexpr auto RCX = TdxOperand::RCX;
constexpr u64 kLarge = 0x40000000, k2M = u64{1} << 21;

struct Shape : testing::Test, TdHost {
    void SetUp() override { build(); }
    TdxStatus leaf(TdhLeaf number, u64 rcx, u64 r8 = 0, unsigned version = 0)
    {
        return call(number, {.rcx = rcx, .rdx = tdr.value(), .r8 = r8}, version);
    }
    void accept(u64 rcx)
    {
        tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, rcx}},
               [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
        ASSERT_EQ(code(enter(vcpu)), 1u);
    }
    paging::EptWalk walk(u64 gpa)
    {
        return paging::walk_ept({.table = tdcx[6], .levels = 4}, Gpa(gpa), paging::Access::read);
    }
    // A 2 MiB page at kLarge, accepted.
    Hpa large_page()
    {
        EXPECT_EQ(sept_add(kLarge, 2), SUCCESS);
        const Hpa at = memory->alloc_range(k2M).value();
        EXPECT_EQ(page_aug(kLarge, at, 1), SUCCESS);
        accept(kLarge | 1);
        return at;
    }
};

TEST_F(Shape, SeptReadShowsEntries)
{
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_RD, kGpa), SUCCESS);
    EXPECT_EQ(out.rdx, 0x0400u);
    EXPECT_EQ(out.rcx & spec::ept::ADDRESS, ram.value()) << "without the key id";
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_RD, (kGpa & ~(k2M - 1)) | 1), SUCCESS);
    EXPECT_EQ(out.rdx, 0x8401u);
    EXPECT_EQ(out.rcx, spec::ept::RWX);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_RD, kLarge), EPT_WALK_FAILED | RCX);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_RD, kGpa | 4), OPERAND_INVALID | RCX);
}

TEST_F(Shape, EmptyTablesCanBeRemoved)
{
    const u64 region = (kGpa & ~(k2M - 1)) | 1;
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, region), GPA_RANGE_NOT_BLOCKED | RCX);
    ASSERT_EQ(block(region), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, region), TLB_TRACKING_NOT_DONE | RCX);
    ASSERT_EQ(track(), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, region), EPT_PAGE_NOT_FREE | RCX);
    EXPECT_EQ(out.rdx, 0x8101u);
    ASSERT_EQ(unblock(region), SUCCESS);
    ASSERT_EQ(block(kGpa), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    ASSERT_EQ(remove(kGpa), SUCCESS);
    ASSERT_EQ(block(region), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    const u64 children = mng_rd(md::CHLDCNT);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, region, 0, 1), SUCCESS);
    EXPECT_EQ(out.rcx, tables.back().value());
    EXPECT_EQ(out.r9, ~u64{0});
    EXPECT_EQ(mng_rd(md::CHLDCNT), children - 1);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, region), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_REMOVE, kGpa), OPERAND_INVALID | RCX);
    EXPECT_EQ(page_aug(kGpa, page()), EPT_WALK_FAILED | RCX);
    EXPECT_EQ(call(TdhLeaf::MEM_SEPT_ADD, {.rcx = region, .rdx = tdr.value(), .r8 = tables.back().value()}),
              SUCCESS);
}

TEST_F(Shape, DemoteSplitsAndPromoteMerges)
{
    const Hpa large = large_page(), table = page();
    mem::store<u64>(large + 0x5008, 0x1234);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, table.value()), GPA_RANGE_NOT_BLOCKED | RCX);
    ASSERT_EQ(block(kLarge | 1), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, table.value()), TLB_TRACKING_NOT_DONE | RCX);
    ASSERT_EQ(track(), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, ram.value()),
              PAGE_METADATA_INCORRECT | TdxOperand::R8);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, (large + 0x1000).value()),
              PAGE_METADATA_INCORRECT | TdxOperand::R8)
        << "inside the page itself";
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kGpa, table.value()), OPERAND_INVALID | RCX);
    const u64 children = mng_rd(md::CHLDCNT);
    ASSERT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, table.value()), SUCCESS);
    EXPECT_EQ(out.rcx | out.rdx, 0u);
    EXPECT_EQ(mng_rd(md::CHLDCNT), children + 1);
    EXPECT_EQ(mem::load<u64>(mem::without_hkid(walk(kLarge + 0x5008).hpa)), 0x1234u);
    EXPECT_EQ(leaf(TdhLeaf::MEM_SEPT_RD, kLarge + 0x5000), SUCCESS);
    EXPECT_EQ(out.rdx, 0x0400u) << "a page of 4 KiB, mapped";
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = (large + 0x5000).value()}), SUCCESS);
    EXPECT_EQ(out.rdx, tdr.value());
    EXPECT_EQ(out.r8, 0u);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_DEMOTE, kLarge | 1, page().value()), EPT_ENTRY_STATE_INCORRECT | RCX);

    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_PROMOTE, kLarge | 1), GPA_RANGE_NOT_BLOCKED | RCX);
    ASSERT_EQ(block(kLarge + 0x3000), SUCCESS);
    ASSERT_EQ(block(kLarge | 1), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_PROMOTE, kLarge | 1), EPT_INVALID_PROMOTE_CONDITIONS | RCX);
    ASSERT_EQ(unblock(kLarge | 1), SUCCESS);
    ASSERT_EQ(unblock(kLarge + 0x3000), SUCCESS);
    ASSERT_EQ(block(kLarge | 1), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    ASSERT_EQ(leaf(TdhLeaf::MEM_PAGE_PROMOTE, kLarge | 1), SUCCESS);
    EXPECT_EQ(out.rcx, table.value());
    EXPECT_EQ(mng_rd(md::CHLDCNT), children);
    EXPECT_EQ(mem::load<u64>(mem::without_hkid(walk(kLarge + 0x5008).hpa)), 0x1234u);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = (large + 0x5000).value()}), SUCCESS);
    EXPECT_EQ(out.r8, 1u);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_PROMOTE, kLarge | 1), EPT_ENTRY_STATE_INCORRECT | RCX);
}

TEST_F(Shape, RelocateMovesTheContent)
{
    const Hpa to = page();
    mem::store<u64>(ram + 8, 0x77);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_RELOCATE, kGpa, to.value()), GPA_RANGE_NOT_BLOCKED | RCX);
    ASSERT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_RELOCATE, kGpa, to.value()), TLB_TRACKING_NOT_DONE | RCX);
    ASSERT_EQ(track(), SUCCESS);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_RELOCATE, kGpa, ram.value()), PAGE_METADATA_INCORRECT | TdxOperand::R8);
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_RELOCATE, kGpa, to.value()), SUCCESS);
    EXPECT_EQ(out.rcx, ram.value());
    EXPECT_EQ(leaf(TdhLeaf::MEM_PAGE_RELOCATE, kGpa + 0x1000, page().value()),
              EPT_ENTRY_STATE_INCORRECT | RCX);
    ASSERT_EQ(unblock(kGpa), SUCCESS);
    EXPECT_EQ(mem::without_hkid(walk(kGpa).hpa), to);
    EXPECT_EQ(mem::load<u64>(to + 8), 0x77u);
    EXPECT_EQ(page_aug(kGpa + 0x1000, ram), SUCCESS) << "the old page is free";
}

TEST_F(Shape, OnlyDebugTdsCanBeReadAndWritten)
{
    EXPECT_EQ(leaf(TdhLeaf::MEM_RD, kGpa), TD_NON_DEBUG);
    EXPECT_EQ(leaf(TdhLeaf::MEM_WR, kGpa, 5), TD_NON_DEBUG);
    EXPECT_EQ(out.r8, 0u);
    TdHost debug;
    spec::TdParams params = default_params();
    params.attributes |= spec::td_attributes::DEBUG;
    debug.build(params);
    const u64 td = debug.tdr.value();
    EXPECT_EQ(debug.call(TdhLeaf::MEM_WR, {.rcx = kGpa + 8, .rdx = td, .r8 = 0x55}), SUCCESS);
    EXPECT_EQ(debug.out.r8, 0u) << "what was there";
    EXPECT_EQ(mem::load<u64>(debug.ram + 8), 0x55u);
    EXPECT_EQ(debug.call(TdhLeaf::MEM_RD, {.rcx = kGpa + 8, .rdx = td}), SUCCESS);
    EXPECT_EQ(debug.out.r8, 0x55u);
    EXPECT_EQ(debug.call(TdhLeaf::MEM_RD, {.rcx = kGpa + 4, .rdx = td, .r8 = 9}), OPERAND_INVALID | RCX);
    EXPECT_EQ(debug.out.r8, 0u);
    EXPECT_EQ(debug.call(TdhLeaf::MEM_RD, {.rcx = kGpa + 0x1000, .rdx = td}),
              EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(debug.call(TdhLeaf::MEM_WR, {.rcx = kLarge, .rdx = td}), EPT_WALK_FAILED | RCX);
}

TEST_F(Shape, TheHostWritesItsOwnFields)
{
    const auto write = [this](u64 id, u64 value) {
        return call(TdhLeaf::MNG_WR, {.rcx = tdr.value(), .rdx = id, .r8 = value, .r9 = ~u64{0}});
    };
    EXPECT_EQ(write(md::HP_LOCK_TIMEOUT, 70), SUCCESS);
    EXPECT_EQ(write(md::HP_LOCK_TIMEOUT, 80), SUCCESS);
    EXPECT_EQ(out.r8, 70u);
    EXPECT_EQ(mng_rd(md::HP_LOCK_TIMEOUT), 80u);
    EXPECT_EQ(write(md::XFAM, 3), METADATA_FIELD_NOT_WRITABLE);
    EXPECT_EQ(write(0x1110000300777777, 3), METADATA_FIELD_ID_INCORRECT);
}

TEST_F(Shape, NothingWorksAfterShutdown)
{
    EXPECT_EQ(call(TdhLeaf::SYS_LP_SHUTDOWN, {}, 1), OPERAND_INVALID);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_SHUTDOWN), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_SHUTDOWN, {}, 0, 1), SUCCESS);
    EXPECT_EQ(enter(vcpu), SYS_SHUTDOWN);
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = md::MAX_TDMRS}), SYS_SHUTDOWN);
    EXPECT_EQ(call(static_cast<TdhLeaf>(999)), OPERAND_INVALID);
}

} // namespace
} // namespace seamless::tdx
