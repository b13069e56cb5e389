// SPDX-License-Identifier: Apache-2.0
// Every leaf of the tables refuses something through its registers; VP.ENTER does so in the module's order.
// And states that other tests do not build: five levels, pending pages that raise #VE, virtual topology.
#include <algorithm>

#include "tdx/guest/td_cpuid.h"
#include "tdx/tdg/leaves.h"
#include "tdx/tdh/leaves.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
namespace md = spec::md;
constexpr auto RCX = TdxOperand::RCX, RDX = TdxOperand::RDX, R8 = TdxOperand::R8;

struct Refusal : testing::Test, TdHost {};

struct TdhRefusal {
    TdhLeaf leaf;
    cpu::SeamRegs regs;
    TdxStatus status;
};

TEST_F(Refusal, EveryTdhLeafHasOne)
{
    build();
    const u64 td = tdr.value(), vp = vcpu.value(), free = page().value(), odd = free + 8;
    const u64 bad_gpa = kGpa | 8, shared = u64{1} << 47;
    // clang-format off
    const TdhRefusal rows[] = {
        {TdhLeaf::VP_ENTER,            {.rcx = td},                            PAGE_METADATA_INCORRECT | RCX},
        {TdhLeaf::MNG_ADDCX,           {.rcx = free, .rdx = odd},              OPERAND_INVALID | RDX},
        {TdhLeaf::MEM_PAGE_ADD,        {.rcx = kGpa, .rdx = td, .r8 = free},   OP_STATE_INCORRECT},
        {TdhLeaf::MEM_SEPT_ADD,        {.rcx = kGpa, .rdx = td, .r8 = free},   OPERAND_INVALID | RCX},
        {TdhLeaf::VP_ADDCX,            {.rcx = free, .rdx = td},               PAGE_METADATA_INCORRECT | RDX},
        {TdhLeaf::MEM_PAGE_RELOCATE,   {.rcx = kGpa, .rdx = td, .r8 = odd},    OPERAND_INVALID | R8},
        {TdhLeaf::MEM_PAGE_AUG,        {.rcx = kGpa, .rdx = td, .r8 = odd},    OPERAND_INVALID | R8},
        {TdhLeaf::MEM_RANGE_BLOCK,     {.rcx = shared, .rdx = td},             OPERAND_INVALID | RCX},
        {TdhLeaf::MNG_KEY_CONFIG,      {.rcx = 0x1000},                        OPERAND_ADDR_RANGE_ERROR | RCX},
        {TdhLeaf::MNG_CREATE,          {.rcx = free, .rdx = 1},                OPERAND_INVALID | RDX},
        {TdhLeaf::VP_CREATE,           {.rcx = free, .rdx = vp},               PAGE_METADATA_INCORRECT | RDX},
        {TdhLeaf::MNG_RD,              {.rcx = td, .rdx = bit(62)},            METADATA_FIELD_ID_INCORRECT},
        {TdhLeaf::MEM_RD,              {.rcx = kGpa, .rdx = td},               TD_NON_DEBUG},
        {TdhLeaf::MNG_WR,              {.rcx = td, .rdx = md::XFAM, .r9 = 1},  METADATA_FIELD_NOT_WRITABLE},
        {TdhLeaf::MEM_WR,              {.rcx = kGpa, .rdx = td},               TD_NON_DEBUG},
        {TdhLeaf::MEM_PAGE_DEMOTE,     {.rcx = kGpa, .rdx = td, .r8 = free},   OPERAND_INVALID | RCX},
        {TdhLeaf::MR_EXTEND,           {.rcx = kGpa, .rdx = td},               OP_STATE_INCORRECT},
        {TdhLeaf::MR_FINALIZE,         {.rcx = td},                            OP_STATE_INCORRECT},
        {TdhLeaf::VP_FLUSH,            {.rcx = odd},                           OPERAND_INVALID | RCX},
        {TdhLeaf::MNG_VPFLUSHDONE,     {.rcx = td},                            FLUSHVP_NOT_DONE},
        {TdhLeaf::MNG_KEY_FREEID,      {.rcx = td},                            LIFECYCLE_STATE_INCORRECT},
        {TdhLeaf::MNG_INIT,            {.rcx = td, .rdx = free},               OP_STATE_INCORRECT},
        {TdhLeaf::VP_INIT,             {.rcx = vp},                            OP_STATE_INCORRECT},
        {TdhLeaf::MEM_PAGE_PROMOTE,    {.rcx = kGpa, .rdx = td},               OPERAND_INVALID | RCX},
        {TdhLeaf::PHYMEM_PAGE_RDMD,    {.rcx = odd},                           OPERAND_INVALID | RCX},
        {TdhLeaf::MEM_SEPT_RD,         {.rcx = bad_gpa, .rdx = td},            OPERAND_INVALID | RCX},
        {TdhLeaf::VP_RD,               {.rcx = vp, .rdx = md::VCPU_GPR},       METADATA_FIELD_NOT_READABLE},
        {TdhLeaf::PHYMEM_PAGE_RECLAIM, {.rcx = free},                          PAGE_METADATA_INCORRECT | RCX},
        {TdhLeaf::MEM_PAGE_REMOVE,     {.rcx = kGpa, .rdx = td},               GPA_RANGE_NOT_BLOCKED | RCX},
        {TdhLeaf::MEM_SEPT_REMOVE,     {.rcx = kGpa, .rdx = td},               OPERAND_INVALID | RCX},
        {TdhLeaf::SYS_KEY_CONFIG,      {},                                     SYS_KEY_CONFIG_NOT_PENDING},
        {TdhLeaf::SYS_INFO,            {.rcx = odd},                           OPERAND_INVALID | RCX},
        {TdhLeaf::SYS_INIT,            {.rcx = 1},                             OPERAND_INVALID | RCX},
        {TdhLeaf::SYS_RD,              {.rdx = bit(62)},                       METADATA_FIELD_ID_INCORRECT},
        {TdhLeaf::SYS_RDALL,           {.rdx = odd},                           OPERAND_INVALID | RDX},
        {TdhLeaf::SYS_LP_INIT,         {},                                     SYS_LP_INIT_NOT_PENDING},
        {TdhLeaf::SYS_TDMR_INIT,       {.rcx = free},                          OPERAND_INVALID | RCX},
        {TdhLeaf::MEM_TRACK,           {.rcx = free},                          PAGE_METADATA_INCORRECT | RCX},
        {TdhLeaf::MEM_RANGE_UNBLOCK,   {.rcx = kGpa, .rdx = td},               EPT_ENTRY_STATE_INCORRECT | RCX},
        {TdhLeaf::PHYMEM_CACHE_WB,     {.rcx = 2},                             OPERAND_INVALID | RCX},
        {TdhLeaf::PHYMEM_PAGE_WBINVD,  {.rcx = td},                            PAGE_METADATA_INCORRECT | RCX},
        {TdhLeaf::VP_WR,               {.rcx = vp, .rdx = md::VCPU_INDEX},     METADATA_FIELD_NOT_WRITABLE},
        {TdhLeaf::SYS_CONFIG,          {.rcx = 8},                             SYS_CONFIG_NOT_PENDING},
    };
    // clang-format on
    for (const TdhRefusal& row : rows)
        EXPECT_EQ(call(row.leaf, row.regs), row.status) << find_tdh(static_cast<u64>(row.leaf))->name;
    for (const TdhRow& leaf : tdh_rows()) {
        const bool has_row = std::any_of(std::begin(rows), std::end(rows), [&](const TdhRefusal& row) {
            return static_cast<u16>(row.leaf) == leaf.number;
        });
        // These look at no operand: only their version can be wrong.
        const bool version_only = leaf.number == static_cast<u16>(TdhLeaf::SYS_LP_SHUTDOWN) ||
                                  leaf.number == static_cast<u16>(TdhLeaf::MNG_KEY_RECLAIMID);
        EXPECT_TRUE(has_row || version_only) << leaf.name;
        EXPECT_EQ(call(static_cast<TdhLeaf>(leaf.number), {}, leaf.max_version + 1u), OPERAND_INVALID)
            << leaf.name;
    }
}

TEST_F(Refusal, EveryTdgLeafHasOne)
{
    build();
    struct Row {
        TdgLeaf leaf;
        Regs regs;
        TdxStatus status;
    };
    // clang-format off
    const Row rows[] = {
        {TdgLeaf::VP_VMCALL,       {{Gpr::rcx, 1}},                                     OPERAND_INVALID | RCX},
        {TdgLeaf::MR_RTMR_EXTEND,  {{Gpr::rcx, kGpa}, {Gpr::rdx, 4}},                   OPERAND_INVALID | RDX},
        {TdgLeaf::VP_VEINFO_GET,   {},                                                  NO_VALID_VE_INFO},
        {TdgLeaf::MR_REPORT,       {{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa}, {Gpr::r8, 1}},  OPERAND_INVALID | R8},
        {TdgLeaf::VP_CPUIDVE_SET,  {{Gpr::rcx, 4}},                                     OPERAND_INVALID | RCX},
        {TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, kGpa | 2}},                              OPERAND_INVALID | RCX},
        {TdgLeaf::VM_RD,           {{Gpr::rcx, 1}, {Gpr::rdx, md::XFAM}},               OPERAND_INVALID | RCX},
        {TdgLeaf::VM_WR,           {{Gpr::rcx, 1}, {Gpr::rdx, md::TD_CTLS}},            OPERAND_INVALID | RCX},
        {TdgLeaf::VP_RD,           {{Gpr::rdx, md::VCPU_GPR}},                          METADATA_FIELD_NOT_READABLE},
        {TdgLeaf::VP_WR,           {{Gpr::rdx, md::VCPU_INDEX}, {Gpr::r9, 1}},          METADATA_FIELD_NOT_WRITABLE},
        {TdgLeaf::SYS_RD,          {{Gpr::rdx, bit(62)}},                               METADATA_FIELD_ID_INCORRECT},
        {TdgLeaf::SYS_RDALL,       {{Gpr::rdx, kGpa + 8}},                              OPERAND_INVALID | RDX},
        {TdgLeaf::MR_VERIFYREPORT, {{Gpr::rcx, kGpa + 8}},                              OPERAND_INVALID | RCX},
        {TdgLeaf::MEM_PAGE_ATTR_RD, {{Gpr::rcx, kGpa | bit(52)}},                       OPERAND_INVALID | RCX},
        {TdgLeaf::MEM_PAGE_ATTR_WR, {{Gpr::rcx, kGpa}, {Gpr::rdx, 1}},                  OPERAND_INVALID | RDX},
    };
    // clang-format on
    const auto refused = [this](TdgLeaf leaf, const Regs& regs, TdxStatus status, unsigned version = 0) {
        const char* name = find_tdg(static_cast<u64>(leaf))->name;
        bool seen = false;
        tdcall(
            leaf, regs,
            [&](cpu::Vmcs&, cpu::GuestContext& c) {
                EXPECT_EQ(c[Gpr::rax], code(status)) << name;
                seen = true;
            },
            version);
        EXPECT_EQ(code(enter(vcpu)), 1u) << name;
        EXPECT_TRUE(seen) << name;
    };
    for (const Row& row : rows)
        refused(row.leaf, row.regs, row.status);
    for (const TdgRow& leaf : tdg_rows()) {
        const bool has_row = std::any_of(std::begin(rows), std::end(rows), [&](const Row& row) {
            return static_cast<u16>(row.leaf) == leaf.number;
        });
        // VP.INFO never fails: only its version can be wrong.
        EXPECT_TRUE(has_row || leaf.number == static_cast<u16>(TdgLeaf::VP_INFO)) << leaf.name;
        refused(static_cast<TdgLeaf>(leaf.number), {}, OPERAND_INVALID, leaf.max_version + 1u);
    }
}

TEST_F(Refusal, VpEnterChecksInOrder)
{
    // Each step puts right what the one before refuses, so a later check never comes first.
    bring_up();
    create_td();
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    const Hpa early = page();
    const u64 hint = spec::vp_enter_rcx::HOST_RECOVERABILITY_HINT;
    const auto enters = [this](u64 rcx, unsigned on = 1) {
        return call(TdhLeaf::VP_ENTER, {.rcx = rcx}, 0, on);
    };
    EXPECT_EQ(enters(early.value() | bit(60) | hint), OPERAND_INVALID | RCX);
    EXPECT_EQ(enters(early.value() | hint), PAGE_METADATA_INCORRECT | RCX);
    ASSERT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = early.value(), .rdx = tdr.value()}), SUCCESS);
    vcpu = create_vcpu();
    EXPECT_EQ(enters(early.value() | hint), OP_STATE_INCORRECT);
    ASSERT_EQ(finalize(), SUCCESS);
    EXPECT_EQ(enters(early.value() | hint), TDCX_NUM_INCORRECT);
    EXPECT_EQ(enters(early.value() | hint), TDCX_NUM_INCORRECT) << "a refusal changes nothing";
    EXPECT_EQ(enters(vcpu.value() | hint), VCPU_ASSOCIATED);
    ASSERT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = vcpu.value()}), SUCCESS);
    ASSERT_EQ(code(enters(vcpu.value())), 1u);
    clock.tsc_value = 0;
    EXPECT_EQ(enters(vcpu.value() | hint), OPERAND_INVALID | RCX);
    EXPECT_EQ(enters(vcpu.value() | spec::vp_enter_rcx::RESUME_L1), OPERAND_INVALID | RCX);
    EXPECT_EQ(enters(vcpu.value()), TSC_ROLLBACK);
    clock.tsc_value = u64{1} << 40;
    // Another processor's refused entry must not disturb the vCPU where it belongs.
    EXPECT_EQ(enters(vcpu.value(), 0), VCPU_ASSOCIATED);
    EXPECT_EQ(code(enters(vcpu.value())), 1u);
}

TEST_F(Refusal, PendingPagesRaiseVeOrExit)
{
    spec::TdParams params = default_params();
    params.attributes = 0; // SEPT_VE_DISABLE off: PENDING_VE_DISABLE starts as 0
    params.config_flags |= spec::config_flags::FLEXIBLE_PENDING_VE;
    build(params);
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
    const auto touch = [this] {
        lp().then([](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            exit(vmcs, ExitReason::EPT_VIOLATION, 3, 0x182);
            vmcs.guest_physical_address = kGpa + 0x1678;
            vmcs.guest_linear_address = 0xffff800000001678;
        });
        return code(enter(vcpu));
    };
    EXPECT_EQ(touch(), 1u) << "#VE, and the run ends with the next interrupt";
    const spec::VeInfo& ve = *mem::host_ptr<spec::VeInfo>(vcpu);
    EXPECT_EQ(ve.exit_reason, 48u);
    EXPECT_EQ(ve.gpa, kGpa + 0x1678);
    EXPECT_EQ(ve.gla, 0xffff800000001678u);
    EXPECT_EQ(lp().history.back().vmcs.entry_intr_info & 0xff, 20u);
    tdcall(TdgLeaf::VP_VEINFO_GET, {},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::r9], kGpa + 0x1678); });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    tdcall(TdgLeaf::VM_WR, {{Gpr::rcx, 0}, {Gpr::rdx, md::TD_CTLS}, {Gpr::r8, 1}, {Gpr::r9, 1}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u) << "FLEXIBLE_PENDING_VE"; });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(touch(), 48u);
    EXPECT_EQ(out.rdx, 6u);
    EXPECT_EQ(out.r8, kGpa + 0x1000);
    EXPECT_EQ(ve.valid, 0u);
}

TEST_F(Refusal, FiveLevelsMoveTheSharedBit)
{
    bring_up();
    create_td();
    spec::TdParams params = default_params();
    params.config_flags |= spec::config_flags::GPAW;
    params.eptp_controls = spec::ept::EPTP_WB | spec::ept::eptp_walk_length(5);
    ASSERT_EQ(init_td(params), SUCCESS);
    vcpu = create_vcpu();
    const u64 gpa = u64{1} << 50;
    for (const unsigned level : {4u, 3u, 2u, 1u})
        ASSERT_EQ(sept_add(gpa, level), SUCCESS);
    ASSERT_EQ(page_add(gpa, page(), page()), SUCCESS);
    EXPECT_EQ(page_aug(u64{1} << 51, page()), OPERAND_INVALID | RCX) << "shared";
    ASSERT_EQ(finalize(), SUCCESS);
    EXPECT_EQ(mng_rd(md::GPAW), 1u);
    tdcall(TdgLeaf::VP_INFO, {}, [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rcx], 52u); });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(lp().history[0].vmcs.td_shared_bit, u64{1} << 51);
    EXPECT_EQ(lp().history[0].vmcs.ept_pointer & 0x38, u64{4} << 3);
    EXPECT_EQ(lp().history[0].gpr[3], 52u);
    ASSERT_EQ(page_aug(gpa + 0x1000, page()), SUCCESS);
    tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, gpa + 0x1000}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), 1u);
}

TEST_F(Refusal, VersionOneReadsWalkAllFields)
{
    build();
    const auto fields = [this](TdhLeaf leaf, u64 object) {
        EXPECT_EQ(call(leaf, {.rcx = object, .rdx = md::kFirst}, 1), METADATA_FIRST_FIELD_ID_IN_CONTEXT);
        unsigned count = 0;
        for (u64 id = out.rdx; id != md::kFirst && count < 2000; ++count) {
            const TdxStatus s = call(leaf, {.rcx = object, .rdx = id}, 1);
            EXPECT_TRUE(s == SUCCESS || s == METADATA_FIELD_NOT_READABLE) << std::hex << id;
            if (s != SUCCESS) {
                EXPECT_EQ(out.rdx, ~u64{0}) << "only a success tells the next";
                break;
            }
            id = out.rdx;
        }
        return count;
    };
    EXPECT_GT(fields(TdhLeaf::MNG_RD, tdr.value()), 50u);
    EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = tdr.value(), .rdx = md::MRTD + 5}, 1), SUCCESS);
    EXPECT_EQ(out.rdx, md::MRCONFIGID);
    EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = tdr.value(), .rdx = bit(62)}, 1), METADATA_FIELD_ID_INCORRECT);
    EXPECT_EQ(out.rdx, ~u64{0});
    EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = tdr.value(), .rdx = md::XFAM}), SUCCESS);
    EXPECT_EQ(out.rdx, md::XFAM) << "version 0 leaves RDX alone";
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = md::kFirst}, 1),
              METADATA_FIRST_FIELD_ID_IN_CONTEXT);
    EXPECT_NE(out.rdx, md::kFirst);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = md::VCPU_STATE}, 1), SUCCESS);
    EXPECT_EQ(out.rdx, md::VCPU_INDEX);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = md::VCPU_STATE}, 1, 1), VCPU_ASSOCIATED);
    EXPECT_EQ(out.rdx, ~u64{0});
}

TEST_F(Refusal, TopologyIsTheHostsOnceTheGuestAsks)
{
    bring_up();
    create_td();
    spec::TdParams params = default_params();
    const auto rows = cpuid_config_rows();
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (rows[i].leaf == 0x1f && rows[i].subleaf == 0)
            params.cpuid_config[i] = {.eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0};
    ASSERT_EQ(init_td(params), SUCCESS);
    EXPECT_EQ(mng_rd(md::TOPOLOGY_ENUM_CONFIGURED), 1u);
    vcpu = create_vcpu(0, 9);
    ASSERT_EQ(finalize(), SUCCESS);
    const auto read = [this](ExitReason reason, u64 rax, u64 rcx, Gpr from) {
        mem::host_ptr<spec::VeInfo>(vcpu)->valid = 0;
        u64 value = 0;
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            c[Gpr::rax] = rax, c[Gpr::rcx] = rcx;
            exit(vmcs, reason, 2);
        });
        lp().then([&value, from](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            value = c[from];
            exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
        });
        EXPECT_EQ(code(enter(vcpu)), 1u);
        const bool ve = lp().history.back().vmcs.entry_intr_info & spec::intr_info::VALID;
        return ve ? ~u64{0} : value;
    };
    EXPECT_EQ(read(ExitReason::CPUID, 0x1f, 0, Gpr::rdx), ~u64{0}) << "#VE";
    EXPECT_EQ(read(ExitReason::MSR_READ, 0, 0x802, Gpr::rax), ~u64{0});
    const u64 on = spec::td_ctls::ENUM_TOPOLOGY;
    tdcall(TdgLeaf::VM_WR, {{Gpr::rcx, 0}, {Gpr::rdx, md::TD_CTLS}, {Gpr::r8, on}, {Gpr::r9, on}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(read(ExitReason::CPUID, 0x1f, 0, Gpr::rdx), 9u);
    EXPECT_EQ(read(ExitReason::CPUID, 0x1f, 0, Gpr::rbx), 2u);
    EXPECT_EQ(read(ExitReason::CPUID, 0x1f, 0, Gpr::rcx), 0x100u);
    EXPECT_EQ(read(ExitReason::MSR_READ, 0, 0x802, Gpr::rax), 9u);
    EXPECT_EQ(read(ExitReason::CPUID, 1, 0, Gpr::rbx) >> 24, 9u);
}

} // namespace
} // namespace seamless::tdx
