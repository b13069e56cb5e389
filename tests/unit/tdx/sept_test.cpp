// SPDX-License-Identifier: Apache-2.0
// Secure EPT: states, entry information, blocking and TLB tracking.
#include "paging/ept_walk.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
constexpr auto RCX = TdxOperand::RCX;

struct Sept : testing::Test, TdHost {
    void SetUp() override { build(); }
    // Where the processor gets to with a private GPA.
    paging::EptWalk walk(u64 gpa)
    {
        return paging::walk_ept({.table = tdcx[6], .levels = 4}, Gpa(gpa), paging::Access::read);
    }
};

TEST_F(Sept, EntriesAreWhatTheProcessorWalks)
{
    const auto added = walk(kGpa + 0x123);
    ASSERT_EQ(added.outcome, paging::EptWalk::Outcome::ok);
    EXPECT_EQ(mem::without_hkid(added.hpa), ram + 0x123);
    EXPECT_EQ(mem::hkid_of(added.hpa), kTdHkid);
    EXPECT_EQ(added.permissions, spec::ept::RWX);
    const auto missing = walk(kGpa + 0x1000);
    EXPECT_EQ(missing.outcome, paging::EptWalk::Outcome::violation);
    EXPECT_TRUE(missing.suppress_ve());
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
    const auto pending = walk(kGpa + 0x1000);
    EXPECT_EQ(pending.outcome, paging::EptWalk::Outcome::violation);
    EXPECT_TRUE(pending.suppress_ve());
}

TEST_F(Sept, AugRefusalsCarryEntryInformation)
{
    EXPECT_EQ(page_aug(kGpa, page()), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(out.rdx, 0x0400u);
    EXPECT_EQ(out.rcx & spec::ept::ADDRESS, ram.value());
    EXPECT_EQ(page_aug(u64{1} << 40, page()), EPT_WALK_FAILED | RCX);
    EXPECT_EQ(out.rdx, 0x0003u) << "FREE at level 3";
    EXPECT_EQ(page_aug(u64{1} << 47, page()), OPERAND_INVALID | RCX) << "a shared GPA";
    EXPECT_EQ(page_aug(kGpa + 0x1008, page()), OPERAND_INVALID | RCX);
    EXPECT_EQ(page_aug(kGpa, page(), 2), OPERAND_INVALID | RCX);
    EXPECT_EQ(page_aug(kGpa + 0x1000, ram), PAGE_METADATA_INCORRECT | TdxOperand::R8);
    EXPECT_EQ(sept_add(kGpa & ~0x1fffffu, 1), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(spec::sept_info_state(out.rdx), 132u);
    EXPECT_EQ(call(TdhLeaf::MEM_SEPT_ADD,
                   {.rcx = (kGpa & ~0x1fffffu) | 1, .rdx = tdr.value() | 1, .r8 = page().value()}, 1),
              SUCCESS);
    EXPECT_TRUE(test(out.r8, 63)) << "the page was not used";
    EXPECT_EQ(sept_add(kGpa, 0), OPERAND_INVALID | RCX);
}

TEST_F(Sept, RemovalNeedsBlockThenTrack)
{
    EXPECT_EQ(remove(kGpa), GPA_RANGE_NOT_BLOCKED | RCX);
    EXPECT_EQ(unblock(kGpa), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(block(kGpa), GPA_RANGE_ALREADY_BLOCKED | RCX);
    EXPECT_EQ(spec::sept_info_state(out.rdx), 1u);
    EXPECT_EQ(walk(kGpa).outcome, paging::EptWalk::Outcome::violation);
    EXPECT_EQ(remove(kGpa), TLB_TRACKING_NOT_DONE | RCX);
    EXPECT_EQ(unblock(kGpa), TLB_TRACKING_NOT_DONE | RCX);
    EXPECT_EQ(track(), SUCCESS);
    EXPECT_EQ(unblock(kGpa), SUCCESS);
    EXPECT_EQ(walk(kGpa).outcome, paging::EptWalk::Outcome::ok);
    EXPECT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(track(), SUCCESS);
    EXPECT_EQ(remove(kGpa), SUCCESS);
    EXPECT_EQ(out.rcx, ram.value());
    EXPECT_EQ(remove(kGpa), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(block(kGpa), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(page_aug(kGpa, ram), SUCCESS) << "the page is free again";
}

TEST_F(Sept, TrackWaitsForVcpusOfTheOldEpoch)
{
    // While the vCPU runs, the host blocks, tracks and tries to remove, from another processor.
    lp().then([this](cpu::Vmcs& vmcs, cpu::GuestContext&) {
        const auto on_other = [this](TdhLeaf leaf, u64 rcx, u64 rdx = 0) {
            cpu::SeamRegs r{.rax = spec::leaf_rax(leaf), .rcx = rcx, .rdx = rdx};
            EXPECT_TRUE(module.seamcall(lp(1), r));
            return static_cast<TdxStatus>(r.rax);
        };
        EXPECT_EQ(on_other(TdhLeaf::MEM_RANGE_BLOCK, kGpa, tdr.value()), SUCCESS);
        EXPECT_EQ(on_other(TdhLeaf::MEM_TRACK, tdr.value()), SUCCESS);
        EXPECT_EQ(on_other(TdhLeaf::MEM_PAGE_REMOVE, kGpa, tdr.value()), TLB_TRACKING_NOT_DONE | RCX);
        EXPECT_EQ(on_other(TdhLeaf::MEM_TRACK, tdr.value()), PREVIOUS_TLB_EPOCH_BUSY);
        EXPECT_EQ(on_other(TdhLeaf::VP_ENTER, vcpu.value()), VCPU_STATE_INCORRECT | 4u);
        EXPECT_EQ(on_other(TdhLeaf::MNG_VPFLUSHDONE, tdr.value()), OPERAND_BUSY | RCX);
        vmcs.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
    });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    const std::size_t flushes = lp().invept.size();
    EXPECT_EQ(remove(kGpa), SUCCESS);
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(lp().invept.size(), flushes + 1) << "the new epoch flushes";
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(lp().invept.size(), flushes + 1) << "the same epoch does not";
}

TEST_F(Sept, BlockedTablesStopTheWalk)
{
    const u64 region = kGpa & ~0x1fffffu;
    EXPECT_EQ(call(TdhLeaf::MEM_RANGE_BLOCK, {.rcx = region | 1, .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(page_aug(kGpa + 0x1000, page()), EPT_WALK_FAILED | RCX);
    EXPECT_EQ(spec::sept_info_state(out.rdx), 129u);
    EXPECT_EQ(track(), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = region | 1, .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
}

TEST_F(Sept, AcceptZeroesAPendingPage)
{
    const Hpa fresh = page();
    mem::store<u64>(fresh, 0xdead);
    ASSERT_EQ(page_aug(kGpa + 0x1000, fresh), SUCCESS);
    tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, kGpa + 0x1000}}, [&](cpu::Vmcs&, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rax], code(SUCCESS));
        EXPECT_EQ(mem::load<u64>(fresh), 0u);
        EXPECT_EQ(walk(kGpa + 0x1000).outcome, paging::EptWalk::Outcome::ok);
    });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    const std::pair<u64, TdxStatus> refusals[] = {{kGpa + 0x1000, PAGE_ALREADY_ACCEPTED},
                                                  {(kGpa & ~0x1fffffu) | 1, PAGE_SIZE_MISMATCH | 1u},
                                                  {(kGpa & ~0x3fffffffu) | 2, OPERAND_INVALID | RCX},
                                                  {u64{1} << 47, OPERAND_INVALID | RCX}};
    for (const auto& [rcx, status] : refusals) {
        tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, rcx}},
               [s = status](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(s)); });
        ASSERT_EQ(code(enter(vcpu)), 1u);
    }
}

TEST_F(Sept, AcceptOfAMissingPageExitsAndRestarts)
{
    u64 rip = 0;
    lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        rip = vmcs.rip;
        c[Gpr::rax] = spec::leaf_rax(TdgLeaf::MEM_PAGE_ACCEPT);
        c[Gpr::rcx] = kGpa + 0x5000;
        exit(vmcs, ExitReason::TDCALL);
    });
    ASSERT_EQ(code(enter(vcpu)), 48u);
    EXPECT_EQ(out.rcx, 2u);
    EXPECT_EQ(out.rdx, 1u) << "4 KiB wanted, FREE found at level 0";
    EXPECT_EQ(out.r8, kGpa + 0x5000);
    EXPECT_TRUE(sink.of(trace::Event::tdx_tdcall).empty()) << "it has not completed";
    ASSERT_EQ(page_aug(kGpa + 0x5000, page()), SUCCESS);
    lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext&) {
        EXPECT_EQ(vmcs.rip, rip);
        exit(vmcs, ExitReason::TDCALL); // executes it again
    });
    lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rax], 0u);
        EXPECT_EQ(vmcs.rip, rip + 4);
        exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
    });
    EXPECT_EQ(code(enter(vcpu)), 1u);
}

TEST_F(Sept, LargePagesAreOnePage)
{
    const u64 gpa = 0x40000000;
    ASSERT_EQ(sept_add(gpa, 2), SUCCESS);
    const Hpa large = memory->alloc_range(u64{2} << 20).value();
    ASSERT_EQ(page_aug(gpa, large, 1), SUCCESS);
    EXPECT_EQ(mng_rd(spec::md::CHLDCNT), tdcx.size() + vcpu_pages.size() + tables.size() + 1 + 512);
    EXPECT_EQ(page_aug(kGpa + 0x1000, large + 0x3000), PAGE_METADATA_INCORRECT | TdxOperand::R8);
    const Hpa partly = memory->alloc_range(u64{2} << 20).value();
    ASSERT_EQ(page_aug(kGpa + 0x2000, partly + 0x1000), SUCCESS);
    EXPECT_EQ(page_aug(gpa + 0x200000, partly, 1), PAGE_METADATA_INCORRECT | TdxOperand::R8);
    tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, gpa | 1}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(walk(gpa + 0x12345).hpa.value() & 0x1fffff, 0x12345u);
    EXPECT_EQ(call(TdhLeaf::MEM_RANGE_BLOCK, {.rcx = gpa | 1, .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(track(), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MEM_PAGE_REMOVE, {.rcx = gpa | 1, .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(page_aug(kGpa + 0x1000, large + 0x3000), SUCCESS);
}

} // namespace
} // namespace seamless::tdx
