// SPDX-License-Identifier: Apache-2.0
// Statuses that need a state of their own: TDs half built, half torn down or fatal, the limits of TDMRs and
// vCPUs, pages of every kind under the leaves that look at them.
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
namespace md = spec::md;
constexpr auto RCX = TdxOperand::RCX, RDX = TdxOperand::RDX, R8 = TdxOperand::R8, R9 = TdxOperand::R9;
constexpr u64 kLarge = 0x40000000, kTable = kGpa & ~u64{0x1fffff};

struct Status : testing::Test, TdHost {
    // The registers of a TDCALL that comes back with `status`.
    void guest(TdgLeaf leaf, Regs regs, TdxStatus status,
               const std::function<void(cpu::GuestContext&)>& check = {}, unsigned version = 0)
    {
        bool seen = false;
        tdcall(
            leaf, std::move(regs),
            [&](cpu::Vmcs&, cpu::GuestContext& c) {
                EXPECT_EQ(c[Gpr::rax], code(status));
                if (check)
                    check(c);
                seen = true;
            },
            version);
        EXPECT_EQ(code(enter(vcpu)), 1u);
        EXPECT_TRUE(seen);
    }
    u64 exits(ExitReason reason, u64 gpa = 0)
    {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            exit(vmcs, reason, 0);
            vmcs.guest_physical_address = gpa;
        });
        return code(enter(vcpu));
    }
};

TEST_F(Status, ATdIsBuiltInOrder)
{
    bring_up();
    tdr = page();
    const u64 td_page = tdr.value(), free = page().value();
    const spec::TdParams good = default_params();
    ASSERT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = td_page, .rdx = kTdHkid}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = free, .rdx = td_page}), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(init_td(good), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = td_page, .rdx = md::XFAM}), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = kTdHkid}), HKID_NOT_FREE | RDX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = u64{kTdHkid} | bit(16)}), OPERAND_INVALID | RDX);
    ASSERT_EQ(call(TdhLeaf::MNG_KEY_CONFIG, {.rcx = td_page}), SUCCESS);
    for (unsigned i = 1; i < spec::kTdcsPages; ++i)
        ASSERT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = page().value(), .rdx = td_page}), SUCCESS);
    EXPECT_EQ(init_td(good), TDCS_NOT_ALLOCATED);
    spec::TdParams bad = good;
    bad.xfam = 0;
    EXPECT_EQ(init_td(bad), OPERAND_INVALID | TdxOperand::XFAM) << "looked at first";
    bad = good;
    bad.reserved0 = 1;
    EXPECT_EQ(init_td(bad), TDCS_NOT_ALLOCATED) << "looked at later";
    EXPECT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = free, .rdx = td_page}), TDCS_NOT_ALLOCATED);
    ASSERT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = free, .rdx = td_page}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = page().value(), .rdx = td_page}), OP_STATE_INCORRECT);
    EXPECT_EQ(init_td(good), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = page().value(), .rdx = td_page}), OP_STATE_INCORRECT);
}

TEST_F(Status, NoMoreVcpusThanTheParametersSay)
{
    bring_up();
    create_td();
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    vcpu = create_vcpu(0, 0);
    create_vcpu(0, 1);
    const u64 third = page().value();
    ASSERT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = third, .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = third, .rdx = md::VCPU_STATE, .r8 = 5}), TDCX_NUM_INCORRECT);
    EXPECT_EQ(out.r8, 0u);
    for (unsigned i = 1; i < spec::kTdvpsPages; ++i)
        ASSERT_EQ(call(TdhLeaf::VP_ADDCX, {.rcx = page().value(), .rdx = third}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = third, .rdx = md::VCPU_STATE}), VCPU_STATE_INCORRECT | 0u);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = third, .r8 = 9}, 1), MAX_VCPUS_EXCEEDED);
    EXPECT_EQ(mng_rd(md::NUM_VCPUS), 2u);
    ASSERT_EQ(finalize(), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_ENTER, {.rcx = third}), VCPU_STATE_INCORRECT | 0u);
}

TEST_F(Status, DisabledVcpusCanBeReadOnly)
{
    build();
    EXPECT_EQ(exits(ExitReason::TRIPLE_FAULT), code(NON_RECOVERABLE_VCPU | 2u));
    EXPECT_EQ(enter(vcpu), VCPU_STATE_INCORRECT | 8u);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = md::VCPU_STATE}), SUCCESS);
    EXPECT_EQ(out.r8, 8u);
    EXPECT_EQ(call(TdhLeaf::VP_WR, {.rcx = vcpu.value(), .rdx = md::PEND_NMI, .r8 = 1, .r9 = 1}),
              VCPU_STATE_INCORRECT | 8u);
    EXPECT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS) << "the TD itself is well";
}

TEST_F(Status, WhatNoTdMayDoIsFatal)
{
    struct Row {
        u32 reason;
        u64 gpa;
        TdxStatus status;
    };
    const Row rows[] = {{4, 0, NON_RECOVERABLE_TD | 4u},
                        {49, kGpa, NON_RECOVERABLE_TD | 49u},
                        {0x80000021, 0, NON_RECOVERABLE_TD | 0x80000021u}};
    for (const Row& row : rows) {
        TdHost host;
        host.build();
        host.lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            vmcs.exit_reason = row.reason;
            vmcs.guest_physical_address = row.gpa;
        });
        EXPECT_EQ(host.enter(host.vcpu), row.status);
        const u64 td_page = host.tdr.value(), free = host.page().value();
        EXPECT_EQ(host.enter(host.vcpu), TD_FATAL);
        EXPECT_EQ(host.call(TdhLeaf::MNG_KEY_CONFIG, {.rcx = td_page}), TD_FATAL);
        EXPECT_EQ(host.call(TdhLeaf::MNG_ADDCX, {.rcx = free, .rdx = td_page}), TD_FATAL);
        EXPECT_EQ(host.init_td(default_params()), TD_FATAL);
        EXPECT_EQ(host.call(TdhLeaf::MNG_RD, {.rcx = td_page, .rdx = md::XFAM}), TD_FATAL);
        EXPECT_EQ(host.block(kGpa), TD_FATAL);
        EXPECT_EQ(host.call(TdhLeaf::VP_FLUSH, {.rcx = host.vcpu.value()}), SUCCESS);
        EXPECT_EQ(host.call(TdhLeaf::MNG_VPFLUSHDONE, {.rcx = td_page}), SUCCESS) << "teardown is possible";
    }
}

TEST_F(Status, ASharedMisconfigurationIsTheHosts)
{
    build();
    EXPECT_EQ(exits(ExitReason::EPT_MISCONFIG, bit(47) | 0x5678), 49u);
    EXPECT_EQ(out.r8, bit(47) | 0x5000);
    EXPECT_EQ(out.rcx | out.rdx | out.r9, 0u);
    EXPECT_EQ(code(enter(vcpu)), 1u) << "and the TD lives";
}

TEST_F(Status, KeysOfATdInTeardown)
{
    build();
    const cpu::SeamRegs the_td{.rcx = tdr.value()};
    ASSERT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = vcpu.value()}), SUCCESS);
    ASSERT_EQ(call(TdhLeaf::MNG_VPFLUSHDONE, the_td), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_CONFIG, the_td), LIFECYCLE_STATE_INCORRECT);
    EXPECT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = page().value(), .rdx = tdr.value()}), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(enter(vcpu), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_RECLAIMID, the_td), SUCCESS) << "it stayed, and does nothing";
    ASSERT_EQ(call(TdhLeaf::PHYMEM_CACHE_WB), SUCCESS);
    ASSERT_EQ(call(TdhLeaf::MNG_KEY_FREEID, the_td), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_FREEID, the_td), LIFECYCLE_STATE_INCORRECT);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_WBINVD, {.rcx = 0x1000}), OPERAND_ADDR_RANGE_ERROR | RCX);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = 0x1000}), OPERAND_ADDR_RANGE_ERROR | RCX);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RECLAIM, {.rcx = pamt.value()}), PAGE_METADATA_INCORRECT | RCX);
    EXPECT_EQ(out.rcx, 1u) << "reserved";
}

TEST_F(Status, TdmrsAreChecked)
{
    for (unsigned i = 0; i < package.count(); ++i)
        EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT, {}, 0, i), SYS_LP_INIT_NOT_PENDING);
    EXPECT_EQ(call(TdhLeaf::SYS_INIT), SUCCESS);
    for (unsigned i = 0; i < package.count(); ++i)
        EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT, {}, 0, i), SUCCESS);
    const spec::TdmrInfo good = tdmr_info();
    const auto with = [&](auto change) {
        spec::TdmrInfo info = good;
        change(info);
        return sys_config(info);
    };
    using T = spec::TdmrInfo;
    EXPECT_EQ(with([](T& t) { t.size = ~u64{0} & ~bits(29, 0); }), INVALID_TDMR) << "wraps";
    EXPECT_EQ(with([](T& t) { t.size = 0; }), INVALID_TDMR);
    EXPECT_EQ(with([](T& t) { t.reserved[0].offset += 8; }), INVALID_RESERVED_IN_TDMR);
    EXPECT_EQ(with([](T& t) { t.reserved[0].size = t.size + kPageSize; }), INVALID_RESERVED_IN_TDMR);
    EXPECT_EQ(with([](T& t) { t.reserved[0].offset = t.size; }), INVALID_RESERVED_IN_TDMR);
    EXPECT_EQ(with([](T& t) {
                  t.reserved[1] = {t.reserved[0].offset + 1, kPageSize};
              }),
              INVALID_RESERVED_IN_TDMR | 1u << 8);
    EXPECT_EQ(with([](T& t) {
                  t.reserved[1] = {t.reserved[0].offset, kPageSize};
              }),
              NON_ORDERED_RESERVED_IN_TDMR | 1u << 8);
    EXPECT_EQ(with([](T& t) { t.pamt_2m_base += 8; }), INVALID_PAMT | 1u << 8);
    EXPECT_EQ(with([](T& t) { t.pamt_1g_base = 0x1000; }), PAMT_OUTSIDE_CMRS | 2u << 8);
    // The same TDMR twice.
    const Hpa array = page(), at = page();
    std::memcpy(mem::host_ptr(at), &good, sizeof(good));
    mem::store<u64>(array, at.value());
    mem::store<u64>(array + 8, at.value());
    EXPECT_EQ(call(TdhLeaf::SYS_CONFIG, {.rcx = array.value(), .rdx = 2, .r8 = kGlobalHkid}),
              NON_ORDERED_TDMR | 1u);
    mem::store<u64>(array, at.value() + 8);
    EXPECT_EQ(call(TdhLeaf::SYS_CONFIG, {.rcx = array.value(), .rdx = 1, .r8 = kGlobalHkid}),
              OPERAND_INVALID | RCX);
    EXPECT_EQ(sys_config(good, spec::kMaxTdmrs + 1), OPERAND_INVALID | RDX);
    EXPECT_EQ(sys_config(good, 1, kGlobalHkid | bit(16)), OPERAND_INVALID | R8);
    EXPECT_EQ(sys_config(good), SUCCESS);
    EXPECT_EQ(sys_config(good), SYS_CONFIG_NOT_PENDING);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT), SYS_LP_INIT_NOT_PENDING);
}

TEST_F(Status, PagesAreAddedBeforeTheTdRuns)
{
    bring_up();
    create_td();
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    vcpu = create_vcpu();
    EXPECT_EQ(page_add(kGpa, page(), page()), EPT_WALK_FAILED | RCX);
    EXPECT_EQ(out.rdx, 0x0003u) << "FREE at level 3";
    const u64 unused = page().value();
    EXPECT_EQ(call(TdhLeaf::MEM_SEPT_ADD, {.rcx = 3, .rdx = tdr.value() | 1, .r8 = unused}),
              OPERAND_INVALID | RDX)
        << "version 0 knows no flag";
    ASSERT_EQ(call(TdhLeaf::MEM_SEPT_ADD, {.rcx = 3, .rdx = tdr.value() | 1, .r8 = unused}, 1), SUCCESS);
    EXPECT_EQ(out.r8, ~u64{0}) << "used";
    for (const unsigned level : {2u, 1u})
        ASSERT_EQ(sept_add(kGpa & ~(spec::ept::level_size(level) - 1), level), SUCCESS);
    const Hpa to = page(), from = page();
    EXPECT_EQ(page_add(kGpa, to, Hpa(0)), OPERAND_INVALID | R9);
    EXPECT_EQ(page_add(kGpa, to, from + 8), OPERAND_INVALID | R9);
    EXPECT_EQ(page_add(kGpa, to, Hpa(from.value() | u64{kTdHkid} << mem::kHkidShift)), OPERAND_INVALID | R9);
    EXPECT_EQ(page_add(kGpa, to, Hpa(kPageSize)), OPERAND_INVALID | R9) << "no memory of this host";
    EXPECT_EQ(page_add(kGpa | 1, to, from), OPERAND_INVALID | RCX) << "4 KiB only";
    EXPECT_EQ(page_add(kGpa, vcpu, from), PAGE_METADATA_INCORRECT | R8);
    EXPECT_EQ(page_add(kGpa, tdr, from), OPERAND_BUSY | R8) << "the leaf itself holds it";
    ASSERT_EQ(page_add(kGpa, to, from), SUCCESS);
    EXPECT_EQ(page_add(kGpa, page(), from), EPT_ENTRY_STATE_INCORRECT | RCX);
    EXPECT_EQ(out.rdx, 0x0400u);
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS) << "AUG works before, too";
    EXPECT_EQ(call(TdhLeaf::MR_EXTEND, {.rcx = kGpa + 0x1000, .rdx = tdr.value()}),
              EPT_ENTRY_NOT_PRESENT | RCX);
    EXPECT_EQ(out.rdx, 0x0200u) << "pending";
    EXPECT_EQ(call(TdhLeaf::MR_EXTEND, {.rcx = bit(47), .rdx = tdr.value()}), OPERAND_INVALID | RCX);
    EXPECT_EQ(remove(kGpa + 0x1000), SUCCESS) << "nothing to block or track yet";
}

TEST_F(Status, AcceptMeetsLargerPages)
{
    build();
    ASSERT_EQ(sept_add(kLarge, 2), SUCCESS);
    ASSERT_EQ(page_aug(kLarge, memory->alloc_range(u64{2} << 20).value(), 1), SUCCESS);
    const auto exit_of = [this](u64 rcx) {
        tdcall(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, rcx}});
        EXPECT_EQ(code(enter(vcpu)), 48u);
        return out.rdx;
    };
    EXPECT_EQ(exit_of(kLarge + 0x3000), 1u | u64{1} << 35 | u64{2} << 38 | u64{1} << 46)
        << "4 KiB wanted, a pending leaf at level 1";
    EXPECT_EQ(exit_of((kLarge + 0x200000) | 1), 1u | u64{1} << 32 | u64{1} << 35) << "FREE at level 1";
    guest(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, kLarge | 1}}, SUCCESS);
    guest(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, kLarge + 0x3000}}, PAGE_ALREADY_ACCEPTED | 1u);
    guest(TdgLeaf::MEM_PAGE_ACCEPT, {{Gpr::rcx, kLarge | 1}}, PAGE_ALREADY_ACCEPTED | 1u);
    guest(TdgLeaf::MEM_PAGE_ATTR_RD, {{Gpr::rcx, kLarge + 0x3000}}, SUCCESS,
          [](cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rcx], kLarge | 1); });
    ASSERT_EQ(block(kGpa), SUCCESS);
    EXPECT_EQ(exit_of(kGpa), 1u | u64{1} << 38 | u64{1} << 46) << "a blocked leaf";
    EXPECT_EQ(out.rcx, 2u) << "a write, to what has no rights";
}

TEST_F(Status, NothingBecomesAPageOf1Gib)
{
    build();
    ASSERT_EQ(block(2), SUCCESS);
    ASSERT_EQ(track(), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MEM_PAGE_PROMOTE, {.rcx = 2, .rdx = tdr.value()}),
              EPT_INVALID_PROMOTE_CONDITIONS | RCX);
    EXPECT_EQ(out.rdx, 0x8102u);
    EXPECT_EQ(call(TdhLeaf::MEM_PAGE_PROMOTE, {.rcx = 3, .rdx = tdr.value()}), OPERAND_INVALID | RCX);
    EXPECT_EQ(call(TdhLeaf::MEM_PAGE_DEMOTE, {.rcx = kTable | 1, .rdx = tdr.value() | 2, .r8 = 0}),
              OPERAND_INVALID | RDX)
        << "one flag only";
}

TEST_F(Status, MasksOfGuestWrites)
{
    build();
    using namespace spec::td_ctls;
    const auto write = [this](u64 id, u64 data, u64 mask, TdxStatus status, u64 before = 0) {
        guest(TdgLeaf::VM_WR, {{Gpr::rcx, 0}, {Gpr::rdx, id}, {Gpr::r8, data}, {Gpr::r9, mask}}, status,
              [=](cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::r8], before); });
    };
    write(md::NOTIFY_ENABLES, ~u64{0}, 0, METADATA_FIELD_NOT_WRITABLE);
    write(md::NOTIFY_ENABLES, ~u64{0}, ~u64{1}, METADATA_FIELD_NOT_WRITABLE);
    write(md::NOTIFY_ENABLES, ~u64{0}, ~u64{0}, SUCCESS, 0);
    EXPECT_EQ(mng_rd(md::NOTIFY_ENABLES), 1u) << "only what may be written";
    write(md::NOTIFY_ENABLES, 0, 1, SUCCESS, 1);
    write(md::TD_CTLS, ~u64{0}, bit(5), METADATA_FIELD_NOT_WRITABLE);
    write(md::TD_CTLS, ~u64{0}, ENUM_TOPOLOGY, METADATA_FIELD_VALUE_NOT_VALID); // nothing is configured
    write(md::TD_CTLS, 0, PENDING_VE_DISABLE, METADATA_FIELD_VALUE_NOT_VALID);
    write(md::TD_CTLS, ~u64{0}, REDUCE_VE, SUCCESS, PENDING_VE_DISABLE);
    EXPECT_EQ(mng_rd(md::TD_CTLS), PENDING_VE_DISABLE | REDUCE_VE) << "the mask alone is written";
    write(md::TD_CTLS, LOCK, LOCK, SUCCESS, PENDING_VE_DISABLE | REDUCE_VE);
    write(md::TD_CTLS, 0, LOCK, METADATA_FIELD_VALUE_NOT_VALID);
    write(md::TD_CTLS, 0, REDUCE_VE, METADATA_FIELD_VALUE_NOT_VALID);
    write(md::TD_CTLS | bit(25), 0, 1, METADATA_FIELD_ID_INCORRECT);
    guest(TdgLeaf::VP_CPUIDVE_SET, {{Gpr::rcx, 0}}, SUCCESS); // as it is
    guest(TdgLeaf::VP_CPUIDVE_SET, {{Gpr::rcx, 2}}, OPERAND_INVALID | RCX);
}

TEST_F(Status, CpuidRaisesVeForUsersAlone)
{
    build();
    guest(TdgLeaf::VP_CPUIDVE_SET, {{Gpr::rcx, 2}}, SUCCESS);
    const auto raises = [this](u32 dpl) {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            u32& ar = vmcs.seg[static_cast<unsigned>(spec::Seg::ss)].ar;
            ar = (ar & ~0x60u) | dpl << 5;
            c[Gpr::rax] = 7, c[Gpr::rcx] = 0;
            exit(vmcs, ExitReason::CPUID, 2);
        });
        EXPECT_EQ(code(enter(vcpu)), 1u);
        return (lp().history.back().vmcs.entry_intr_info & 0x800000ff) == 0x80000014;
    };
    EXPECT_FALSE(raises(0));
    EXPECT_TRUE(raises(3));
    guest(
        TdgLeaf::VP_VEINFO_GET, {{Gpr::rcx, 9}}, SUCCESS,
        [](cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rcx] & 0xffffffff, 10u); }, 1);
    guest(TdgLeaf::VP_VEINFO_GET, {{Gpr::rcx, 9}, {Gpr::r9, 9}}, NO_VALID_VE_INFO, [](cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rcx] | c[Gpr::rdx] | c[Gpr::r8] | c[Gpr::r9] | c[Gpr::r10], 0u);
    });
}

TEST_F(Status, RbpIsExposedWhereTheTdIsOlder)
{
    spec::TdParams params = default_params();
    params.config_flags = 0; // no NO_RBP_MOD
    build(params);
    tdcall(TdgLeaf::VP_VMCALL, {{Gpr::rcx, bit(5)}, {Gpr::rbp, 0x1234}});
    ASSERT_EQ(code(enter(vcpu, {.rbp = 7})), 77u);
    EXPECT_EQ(out.rbp, 0x1234u);
    lp().then([](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rbp], 0x99u);
        c[Gpr::rax] = 0, c[Gpr::rcx] = bit(10);
        exit(vmcs, ExitReason::TDCALL);
    });
    ASSERT_EQ(code(enter(vcpu, {.rbp = 0x99})), 77u);
    EXPECT_EQ(out.rbp, 0u) << "not exposed";
    EXPECT_EQ(code(enter(vcpu, {.rbp = 7})), 1u);
    EXPECT_EQ(out.rbp, 0u) << "an asynchronous exit shows nothing";
    EXPECT_EQ(lp().history.back().gpr[5], 0x99u) << "and the guest keeps its own";
}

TEST_F(Status, ReportsGoToSharedMemoryToo)
{
    build();
    Hpa table = page(); // a shared EPT with one page, at the lowest shared GPA
    const Hpa root = table, target = page();
    for (unsigned level = 3; level > 0; --level) {
        const Hpa next = page();
        mem::store<u64>(table + u64{spec::ept::index(bit(47), level)} * 8, next.value() | spec::ept::RWX);
        table = next;
    }
    mem::store<u64>(table, target.value() | spec::ept::RWX | spec::ept::MEMTYPE_WB << 3);
    const u64 field = md::vmcs_field(static_cast<u32>(spec::VmcsField::SHARED_EPT_POINTER));
    ASSERT_EQ(call(TdhLeaf::VP_WR, {.rcx = vcpu.value(), .rdx = field, .r8 = root.value(), .r9 = ~u64{0}}),
              SUCCESS);
    guest(TdgLeaf::MR_REPORT, {{Gpr::rcx, bit(47)}, {Gpr::rdx, kGpa}, {Gpr::r8, 0}}, SUCCESS);
    EXPECT_EQ(*mem::host_ptr<u8>(target), 0x81);
    guest(TdgLeaf::MR_REPORT, {{Gpr::rcx, bit(48)}, {Gpr::rdx, kGpa}, {Gpr::r8, 0}}, OPERAND_INVALID | RCX);
    guest(TdgLeaf::MR_REPORT, {{Gpr::rcx, kGpa}, {Gpr::rdx, bit(48)}, {Gpr::r8, 0}}, OPERAND_INVALID | RDX);
    guest(TdgLeaf::MR_RTMR_EXTEND, {{Gpr::rcx, bit(47)}, {Gpr::rdx, 0}}, OPERAND_INVALID | RCX);
    guest(TdgLeaf::MR_RTMR_EXTEND, {{Gpr::rcx, kGpa + 32}, {Gpr::rdx, 0}}, OPERAND_INVALID | RCX);
    guest(TdgLeaf::MR_VERIFYREPORT, {{Gpr::rcx, bit(47)}}, OPERAND_INVALID | RCX);
}

} // namespace
} // namespace seamless::tdx
