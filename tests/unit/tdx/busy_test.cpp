// SPDX-License-Identifier: Apache-2.0
// Each lock of the module, held by somebody else: no leaf waits, and each tells which it did not get.
#include "tdx/sept.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using enum TdxOperand;
using spec::Gpr;

struct Busy : testing::Test, TdHost {
    struct Row {
        TdhLeaf leaf;
        cpu::SeamRegs regs;
        TdxStatus status;
    };
    void while_held(TryLock& lock, std::initializer_list<Row> rows)
    {
        const Held held(lock, LockMode::exclusive);
        ASSERT_TRUE(held);
        for (const Row& row : rows)
            EXPECT_EQ(call(row.leaf, row.regs), row.status) << static_cast<unsigned>(row.leaf);
    }
    void guest_while_held(TryLock& lock, TdgLeaf leaf, Regs regs, TdxStatus status)
    {
        tdcall(leaf, std::move(regs),
               [=](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(status)); });
        const Held held(lock, LockMode::exclusive);
        ASSERT_TRUE(held);
        EXPECT_EQ(code(enter(vcpu)), 1u);
    }
    TryLock& pamt_lock(Hpa of) { return module.pamt().entry(of, 0).lock; }
};

TEST_F(Busy, TheSecureEpt)
{
    build();
    const u64 td_page = tdr.value(), free = page().value(), table = (kGpa & ~u64{0x1fffff}) | 1;
    const auto busy = OPERAND_BUSY | SEPT;
    while_held(td().sept_lock, {{TdhLeaf::MEM_SEPT_ADD, {.rcx = table, .rdx = td_page, .r8 = free}, busy},
                                {TdhLeaf::MEM_PAGE_AUG, {.rcx = kGpa, .rdx = td_page, .r8 = free}, busy},
                                {TdhLeaf::MEM_PAGE_RELOCATE, {.rcx = kGpa, .rdx = td_page, .r8 = free}, busy},
                                {TdhLeaf::MEM_PAGE_DEMOTE, {.rcx = table, .rdx = td_page, .r8 = free}, busy},
                                {TdhLeaf::MEM_PAGE_PROMOTE, {.rcx = table, .rdx = td_page}, busy},
                                {TdhLeaf::MEM_SEPT_REMOVE, {.rcx = table, .rdx = td_page}, busy},
                                {TdhLeaf::MEM_SEPT_RD, {.rcx = kGpa, .rdx = td_page}, busy},
                                {TdhLeaf::MEM_RANGE_BLOCK, {.rcx = kGpa, .rdx = td_page}, busy},
                                {TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = kGpa, .rdx = td_page}, busy},
                                {TdhLeaf::MEM_PAGE_REMOVE, {.rcx = kGpa, .rdx = td_page}, busy}});
    for (const TdgLeaf leaf :
         {TdgLeaf::MEM_PAGE_ACCEPT, TdgLeaf::MEM_PAGE_ATTR_RD, TdgLeaf::MEM_PAGE_ATTR_WR})
        guest_while_held(td().sept_lock, leaf, {{Gpr::rcx, kGpa}, {Gpr::rdx, 0}, {Gpr::r8, 0}},
                         OPERAND_BUSY | RCX);
    // Leaves that need it for themselves do not get it beside one that shares it.
    const Held shared(td().sept_lock, LockMode::shared);
    EXPECT_EQ(call(TdhLeaf::MEM_SEPT_REMOVE, {.rcx = table, .rdx = td_page}), busy);
    EXPECT_EQ(call(TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = kGpa, .rdx = td_page}), busy);
    EXPECT_EQ(block(kGpa), SUCCESS);
}

TEST_F(Busy, AnEntryOfIt)
{
    build();
    sept::Position at = sept::walk(td(), kGpa, 0);
    {
        const sept::EntryLock lock(at);
        ASSERT_TRUE(lock);
        const u64 td_page = tdr.value(), free = page().value();
        for (const TdhLeaf leaf :
             {TdhLeaf::MEM_PAGE_AUG, TdhLeaf::MEM_RANGE_BLOCK, TdhLeaf::MEM_RANGE_UNBLOCK,
              TdhLeaf::MEM_PAGE_REMOVE, TdhLeaf::MEM_PAGE_RELOCATE}) {
            EXPECT_EQ(call(leaf, {.rcx = kGpa, .rdx = td_page, .r8 = free}), OPERAND_BUSY | RCX);
            EXPECT_EQ(out.rdx, 0x0400u) << "with what the entry is";
        }
        EXPECT_EQ(call(TdhLeaf::MEM_SEPT_RD, {.rcx = kGpa, .rdx = td_page}), SUCCESS) << "looking is free";
        for (const TdgLeaf leaf :
             {TdgLeaf::MEM_PAGE_ACCEPT, TdgLeaf::MEM_PAGE_ATTR_RD, TdgLeaf::MEM_PAGE_ATTR_WR}) {
            tdcall(
                leaf, {{Gpr::rcx, kGpa}, {Gpr::rdx, 0}, {Gpr::r8, 0}},
                [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(OPERAND_BUSY | RCX)); });
            EXPECT_EQ(code(enter(vcpu)), 1u);
        }
    }
    EXPECT_EQ(block(kGpa), SUCCESS);
}

TEST_F(Busy, EpochStateAndMeasurementOfATd)
{
    bring_up();
    create_td();
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    vcpu = create_vcpu();
    sept_tables(kGpa);
    ram = page();
    ASSERT_EQ(page_add(kGpa, ram, page()), SUCCESS);
    const u64 td_page = tdr.value(), free = page().value(), source = page().value();
    while_held(td().mrtd_lock, {{TdhLeaf::MR_EXTEND, {.rcx = kGpa, .rdx = td_page}, OPERAND_BUSY | TDCS},
                                {TdhLeaf::MEM_PAGE_ADD,
                                 {.rcx = kGpa + 0x1000, .rdx = td_page, .r8 = free, .r9 = source},
                                 OPERAND_BUSY | TDCS},
                                {TdhLeaf::MR_FINALIZE, {.rcx = td_page}, OPERAND_BUSY | TDCS}});
    {
        const Held shared(td().op_state_lock, LockMode::shared);
        EXPECT_EQ(finalize(), OPERAND_BUSY | OP_STATE) << "FINALIZE changes the state, so it wants it alone";
    }
    ASSERT_EQ(finalize(), SUCCESS);
    while_held(td().op_state_lock, {{TdhLeaf::MEM_TRACK, {.rcx = td_page}, OPERAND_BUSY | OP_STATE},
                                    {TdhLeaf::VP_ENTER, {.rcx = vcpu.value()}, OPERAND_BUSY | OP_STATE}});
    while_held(td().epoch_lock, {{TdhLeaf::MEM_TRACK, {.rcx = td_page}, OPERAND_BUSY | TD_EPOCH},
                                 {TdhLeaf::VP_ENTER, {.rcx = vcpu.value()}, OPERAND_BUSY | TD_EPOCH}});
    EXPECT_EQ(code(enter(vcpu)), 1u) << "what was refused may be tried again";
    guest_while_held(td().rtmr_lock, TdgLeaf::MR_RTMR_EXTEND, {{Gpr::rcx, kGpa}, {Gpr::rdx, 0}},
                     OPERAND_BUSY | RTMR);
    guest_while_held(td().rtmr_lock, TdgLeaf::MR_REPORT, {{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa}, {Gpr::r8, 0}},
                     OPERAND_BUSY | RTMR);
}

TEST_F(Busy, PagesAndTheirOwners)
{
    build();
    const Hpa fresh = page();
    const u64 td_page = tdr.value(), free = fresh.value(), vp = vcpu.value();
    while_held(pamt_lock(tdr), {{TdhLeaf::MNG_RD, {.rcx = td_page}, OPERAND_BUSY | RCX},
                                {TdhLeaf::MEM_PAGE_AUG, {.rcx = kGpa, .rdx = td_page}, OPERAND_BUSY | RDX},
                                {TdhLeaf::VP_ENTER, {.rcx = vp}, OPERAND_BUSY | TDR},
                                {TdhLeaf::VP_FLUSH, {.rcx = vp}, OPERAND_BUSY | TDR},
                                {TdhLeaf::PHYMEM_PAGE_RECLAIM, {.rcx = ram.value()}, OPERAND_BUSY | TDR}});
    while_held(pamt_lock(vcpu), {{TdhLeaf::VP_ENTER, {.rcx = vp}, OPERAND_BUSY | RCX},
                                 {TdhLeaf::VP_RD, {.rcx = vp}, OPERAND_BUSY | RCX},
                                 {TdhLeaf::VP_ADDCX, {.rcx = free, .rdx = vp}, OPERAND_BUSY | RDX}});
    while_held(pamt_lock(fresh),
               {{TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = 18}, OPERAND_BUSY | RCX},
                {TdhLeaf::MEM_PAGE_AUG, {.rcx = kGpa, .rdx = td_page, .r8 = free}, OPERAND_BUSY | R8},
                {TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = free}, OPERAND_BUSY | RCX},
                {TdhLeaf::PHYMEM_PAGE_WBINVD, {.rcx = free}, OPERAND_BUSY | RCX}});
    ASSERT_EQ(block(kGpa), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    while_held(pamt_lock(ram),
               {{TdhLeaf::MEM_PAGE_REMOVE, {.rcx = kGpa, .rdx = td_page}, OPERAND_BUSY | RCX},
                {TdhLeaf::MEM_PAGE_RELOCATE, {.rcx = kGpa, .rdx = td_page, .r8 = free}, OPERAND_BUSY | RCX}});
    EXPECT_EQ(remove(kGpa), SUCCESS);
}

TEST_F(Busy, KeysCachesAndTheModule)
{
    build();
    const u64 td_page = tdr.value(), free = page().value();
    while_held(module.kot_lock, {{TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = 18}, OPERAND_BUSY | KOT},
                                 {TdhLeaf::MNG_VPFLUSHDONE, {.rcx = td_page}, OPERAND_BUSY | KOT},
                                 {TdhLeaf::MNG_KEY_FREEID, {.rcx = td_page}, OPERAND_BUSY | KOT},
                                 {TdhLeaf::PHYMEM_CACHE_WB, {}, OPERAND_BUSY | KOT}});
    while_held(module.wbcache_lock, {{TdhLeaf::PHYMEM_CACHE_WB, {}, OPERAND_BUSY | WBCACHE}});
    const u64 base = memory->base().value();
    while_held(module.tdmrs[0]->lock, {{TdhLeaf::SYS_TDMR_INIT, {.rcx = base}, OPERAND_BUSY | RCX}});
    while_held(module.sys_lock, {{TdhLeaf::SYS_INIT, {}, SYS_BUSY},
                                 {TdhLeaf::SYS_LP_INIT, {}, SYS_BUSY},
                                 {TdhLeaf::SYS_CONFIG, {.rcx = base, .rdx = 1}, SYS_BUSY},
                                 {TdhLeaf::SYS_KEY_CONFIG, {}, SYS_BUSY},
                                 {TdhLeaf::SYS_LP_SHUTDOWN, {}, SYS_BUSY}});
    EXPECT_EQ(code(enter(vcpu)), 1u) << "nothing was shut down";
}

} // namespace
} // namespace seamless::tdx
