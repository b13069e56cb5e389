// SPDX-License-Identifier: Apache-2.0
// Bring-up of the module, and TDs from creation to teardown, through SEAMCALL registers.
#include <openssl/evp.h>

#include "tdx/guest/td_cpuid.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
namespace md = spec::md;

struct Bringup : testing::Test, TdHost {};
struct Build : testing::Test, TdHost {
    void SetUp() override
    {
        bring_up();
        create_td();
    }
};

TEST_F(Bringup, GoesThroughItsStatesInOrder)
{
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT), SYS_LP_INIT_NOT_PENDING);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE), SYS_NOT_READY);
    EXPECT_EQ(call(TdhLeaf::SYS_INIT, {.rcx = 1}), OPERAND_INVALID | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::SYS_INIT), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_INIT), SYS_INIT_NOT_PENDING);
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = md::MAX_TDMRS}), SYS_LP_INIT_NOT_DONE);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT), SYS_LP_INIT_DONE);
    const spec::TdmrInfo info = tdmr_info();
    EXPECT_EQ(sys_config(info), SYS_CONFIG_NOT_PENDING) << "one processor has not been initialised";
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT, {}, 0, 1), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_KEY_CONFIG), SYS_KEY_CONFIG_NOT_PENDING);
    EXPECT_EQ(sys_config(info), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = info.base}), SYS_NOT_READY);
    EXPECT_EQ(call(TdhLeaf::SYS_KEY_CONFIG), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::SYS_KEY_CONFIG), SYS_KEY_CONFIG_NOT_PENDING);
    EXPECT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = info.base + kPageSize}),
              OPERAND_INVALID | TdxOperand::RCX);
    for (unsigned i = 0; i < 255; ++i) {
        ASSERT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = info.base}), SUCCESS);
        ASSERT_EQ(out.rdx, info.base);
    }
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = page().value(), .rdx = kTdHkid}),
              OPERAND_ADDR_RANGE_ERROR | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = info.base}), SUCCESS);
    EXPECT_EQ(out.rdx, info.base + info.size);
    EXPECT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = info.base}), TDMR_ALREADY_INITIALIZED);
}

TEST_F(Bringup, DrawsAKeyWhereThePlatformGivesNone)
{
    EXPECT_EQ(call(TdhLeaf::SYS_INIT), SUCCESS);
    EXPECT_EQ(module.key(), key()) << "a key that is given is kept";
    TdHost keyless(std::nullopt), other(std::nullopt);
    u8 drawn[1];
    ASSERT_TRUE(other.random.fill(drawn)); // the fakes draw the same, so shift one of them
    keyless.random.exhausted = true;
    EXPECT_EQ(keyless.call(TdhLeaf::SYS_INIT), RND_NO_ENTROPY);
    keyless.random.exhausted = false;
    EXPECT_EQ(keyless.call(TdhLeaf::SYS_INIT), SUCCESS);
    EXPECT_EQ(other.call(TdhLeaf::SYS_INIT), SUCCESS);
    EXPECT_NE(keyless.module.key(), PlatformKey{});
    EXPECT_NE(keyless.module.key(), other.module.key());
}

TEST_F(Bringup, ConfigRefusesBadTdmrs)
{
    call(TdhLeaf::SYS_INIT);
    call(TdhLeaf::SYS_LP_INIT);
    call(TdhLeaf::SYS_LP_INIT, {}, 0, 1);
    const spec::TdmrInfo good = tdmr_info();
    spec::TdmrInfo bad = good;
    bad.size = kPageSize;
    EXPECT_EQ(sys_config(bad), INVALID_TDMR);
    bad = good;
    bad.base += u64{1} << 30;
    EXPECT_EQ(sys_config(bad), TDMR_OUTSIDE_CMRS);
    bad = good;
    bad.pamt_4k_size = kPageSize;
    EXPECT_EQ(sys_config(bad), INVALID_PAMT);
    bad = good;
    bad.reserved[0] = {};
    EXPECT_EQ(sys_config(bad), PAMT_OVERLAP);
    bad = good;
    bad.pamt_1g_base = bad.pamt_2m_base;
    EXPECT_EQ(sys_config(bad), PAMT_OVERLAP | 2u << 8);
    EXPECT_EQ(sys_config(good, 0), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(sys_config(good, 1, 3), OPERAND_INVALID | TdxOperand::R8);
    EXPECT_EQ(call(TdhLeaf::SYS_CONFIG, {.rcx = 8, .rdx = 1, .r8 = kGlobalHkid}),
              OPERAND_INVALID | TdxOperand::RCX);
    EXPECT_EQ(sys_config(good), SUCCESS);
}

TEST_F(Bringup, UnknownLeavesAndVersionsAreRefused)
{
    EXPECT_EQ(call(static_cast<TdhLeaf>(999)), OPERAND_INVALID);
    EXPECT_EQ(call(TdhLeaf::SYS_LP_INIT, {}, 1), OPERAND_INVALID);
    cpu::SeamRegs regs{.rax = bit(40)};
    EXPECT_TRUE(module.seamcall(lp(), regs));
    EXPECT_EQ(regs.rax, code(OPERAND_INVALID));
    const auto seen = sink.of(trace::Event::tdx_seamcall);
    ASSERT_EQ(seen.size(), 3u);
    EXPECT_STREQ(seen[1].values[0].text, "TDH.SYS.LP.INIT");
    EXPECT_EQ(seen[1].values[1].number, code(OPERAND_INVALID));
}

TEST_F(Build, SysRdWalksAllFields)
{
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = md::TDCS_BASE_SIZE}), SUCCESS);
    EXPECT_EQ(out.r8, spec::kTdcsPages * kPageSize);
    EXPECT_EQ(out.rdx, md::TDCS_SIZE_PER_L2);
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = 0x0a000003'00999999}), METADATA_FIELD_ID_INCORRECT);
    EXPECT_EQ(out.rdx, md::kFirst);
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = md::kFirst}), METADATA_FIRST_FIELD_ID_IN_CONTEXT);
    unsigned fields = 0;
    for (u64 id = out.rdx; id != md::kFirst && fields < 1000; id = out.rdx, ++fields)
        ASSERT_EQ(call(TdhLeaf::SYS_RD, {.rdx = id}), SUCCESS) << std::hex << id;
    EXPECT_GT(fields, 30u);
    EXPECT_LT(fields, 1000u);
}

TEST_F(Build, SysInfoIsWhatSysRdTells)
{
    const Hpa info = page(), cmrs = page();
    const auto ask = [&](u64 rdx, u64 r8, u64 r9) {
        return call(TdhLeaf::SYS_INFO, {.rcx = info.value(), .rdx = rdx, .r8 = r8, .r9 = r9});
    };
    EXPECT_EQ(ask(1023, cmrs.value(), 32), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(ask(1024, cmrs.value() + 8, 32), OPERAND_INVALID | TdxOperand::R8);
    EXPECT_EQ(ask(1024, cmrs.value(), 31), OPERAND_INVALID | TdxOperand::R9);
    ASSERT_EQ(ask(4096, cmrs.value(), 32), SUCCESS);
    EXPECT_EQ(out.rdx, 1024u);
    EXPECT_EQ(mem::load<u64>(cmrs), memory->base().value());
    EXPECT_EQ(mem::load<u64>(cmrs + 8), memory->size());
    EXPECT_EQ(mem::load<u32>(info + 4), 0x8086u);
    EXPECT_EQ(mem::load<u64>(cmrs + 16), 0u);
    const auto sys_rd = [this](u64 id) {
        EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = id}), SUCCESS);
        return out.r8;
    };
    EXPECT_EQ(mem::load<u16>(info + 48), sys_rd(md::TDCS_BASE_SIZE));
    EXPECT_EQ(mem::load<u16>(info + 52), sys_rd(md::TDVPS_BASE_SIZE));
    EXPECT_EQ(mem::load<u64>(info + 80), sys_rd(md::XFAM_FIXED0));
    EXPECT_EQ(mem::load<u32>(info + 128), std::min<u64>(sys_rd(md::NUM_CPUID_CONFIG), 37));
    EXPECT_EQ(mem::load<u32>(info + 132), sys_rd(md::CPUID_CONFIG_LEAVES) & 0xffffffff);
}

TEST_F(Build, CreateRefusals)
{
    const u64 free = page().value();
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free + 8, .rdx = 18}), OPERAND_INVALID | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = 0x1000, .rdx = 18}),
              OPERAND_ADDR_RANGE_ERROR | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = pamt.value(), .rdx = 18}),
              PAGE_METADATA_INCORRECT | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = tdr.value(), .rdx = 18}),
              PAGE_METADATA_INCORRECT | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = 5}), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = kGlobalHkid}), HKID_NOT_FREE | TdxOperand::RDX);
    random.exhausted = true;
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = free, .rdx = 18}), RND_NO_ENTROPY);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_CONFIG, {.rcx = tdr.value()}), KEY_CONFIGURED);
    EXPECT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = free, .rdx = tdr.value()}), TDCX_NUM_INCORRECT);
    EXPECT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = free, .rdx = free}),
              PAGE_METADATA_INCORRECT | TdxOperand::RDX);
}

TEST_F(Build, InitChecksTdParams)
{
    const auto with = [this](auto change) {
        spec::TdParams p = default_params();
        change(p);
        return init_td(p);
    };
    using P = spec::TdParams;
    EXPECT_EQ(with([](P& p) { p.attributes |= bit(1); }), OPERAND_INVALID | TdxOperand::ATTRIBUTES);
    EXPECT_EQ(with([](P& p) { p.xfam = 1; }), OPERAND_INVALID | TdxOperand::XFAM);
    EXPECT_EQ(with([](P& p) { p.max_vcpus = 0; }), OPERAND_INVALID | TdxOperand::MAX_VCPUS);
    EXPECT_EQ(with([](P& p) { p.num_l2_vms = 1; }), OPERAND_INVALID | TdxOperand::NUM_L2_VMS);
    EXPECT_EQ(with([](P& p) { p.reserved0 = 1; }), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(with([](P& p) { p.config_flags = bit(9); }), OPERAND_INVALID | TdxOperand::EXEC_CONTROLS);
    EXPECT_EQ(with([](P& p) { p.eptp_controls |= bit(6); }), OPERAND_INVALID | TdxOperand::EPTP_CONTROLS);
    EXPECT_EQ(with([](P& p) { p.config_flags |= spec::config_flags::GPAW; }),
              OPERAND_INVALID | TdxOperand::EPTP_CONTROLS);
    EXPECT_EQ(with([](P& p) { p.tsc_frequency = 3; }), static_cast<TdxStatus>(0xC000010000000046));
    EXPECT_EQ(with([](P& p) { p.reserved1[3] = 1; }), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(with([](P& p) { p.cpuid_config[5].eax = 1; }), OPERAND_INVALID | TdxOperand::CPUID_CONFIG);
    EXPECT_EQ(out.rcx, 7u) << "leaf 7, subleaf 0";
    EXPECT_EQ(call(TdhLeaf::MNG_INIT, {.rcx = tdr.value(), .rdx = 12}), OPERAND_INVALID | TdxOperand::RDX);
    EXPECT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = page().value(), .rdx = tdr.value()}), OP_STATE_INCORRECT);
    EXPECT_EQ(init_td(default_params()), SUCCESS);
    EXPECT_EQ(init_td(default_params()), OP_STATE_INCORRECT);
    EXPECT_EQ(mng_rd(md::OP_STATE), 1u);
    EXPECT_EQ(mng_rd(md::XFAM), 3u);
    EXPECT_EQ(mng_rd(md::MRCONFIGID + 5), 0x1111111111111111u);
    EXPECT_EQ(mng_rd(md::TSC_MULTIPLIER), u64{1} << 47) << "1 GHz on a 2 GHz host";
    EXPECT_EQ(mng_rd(md::cpuid_value(0, ~0u, 0)) >> 32, 0x756e6547u);
    EXPECT_EQ(mng_rd(md::cpuid_value(1, ~0u, 0)) & 0xffffffff, kNativeCpuid1Eax);
    EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = tdr.value(), .rdx = md::cpuid_value(0x77, ~0u, 0), .r8 = 9}),
              METADATA_FIELD_NOT_READABLE);
    EXPECT_EQ(out.r8, 0u);
}

TEST_F(Build, VcpusAreNumberedAndUnique)
{
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    const Hpa early = page();
    ASSERT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = early.value(), .rdx = tdr.value()}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = early.value()}), TDCX_NUM_INCORRECT);
    const Hpa first = create_vcpu(1, 7);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = first.value()}), VCPU_STATE_INCORRECT | 2u);
    EXPECT_EQ(call(TdhLeaf::VP_ADDCX, {.rcx = page().value(), .rdx = first.value()}),
              VCPU_STATE_INCORRECT | 2u);
    for (unsigned i = 1; i < spec::kTdvpsPages; ++i)
        ASSERT_EQ(call(TdhLeaf::VP_ADDCX, {.rcx = page().value(), .rdx = early.value()}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_ADDCX, {.rcx = page().value(), .rdx = early.value()}), TDCX_NUM_INCORRECT);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = early.value(), .r8 = 7}, 1), X2APIC_ID_NOT_UNIQUE);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = early.value(), .r8 = bit(32)}, 1),
              OPERAND_INVALID | TdxOperand::R8);
    EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = early.value()}), SUCCESS);
    EXPECT_EQ(mng_rd(md::NUM_VCPUS), 2u);
    EXPECT_EQ(mng_rd(md::X2APIC_IDS), 7u);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = early.value(), .rdx = md::VCPU_INDEX}), SUCCESS);
    EXPECT_EQ(out.r8, 1u);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = early.value(), .rdx = md::VCPU_GPR}), METADATA_FIELD_NOT_READABLE);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = early.value(), .rdx = md::VCPU_INDEX}, 0, 1), VCPU_ASSOCIATED);
}

TEST_F(Build, VpWrReachesOnlyWhatTheHostMayWrite)
{
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    vcpu = create_vcpu();
    const auto write = [this](u64 field, u64 value, u64 mask) {
        return call(TdhLeaf::VP_WR, {.rcx = vcpu.value(), .rdx = field, .r8 = value, .r9 = mask});
    };
    const u64 pin = md::vmcs_field(static_cast<u32>(spec::VmcsField::PIN_BASED_VM_EXEC_CONTROL));
    const u64 shared = md::vmcs_field(static_cast<u32>(spec::VmcsField::SHARED_EPT_POINTER));
    EXPECT_EQ(write(pin, ~u64{0}, ~u64{0}), SUCCESS);
    EXPECT_EQ(out.r8,
              spec::pin::EXTERNAL_INTERRUPT_EXITING | spec::pin::NMI_EXITING | spec::pin::VIRTUAL_NMIS);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = pin}), SUCCESS);
    EXPECT_EQ(out.r8, 0xa9u) << "only the posted-interrupt bit is the host's";
    const u64 root = page().value();
    EXPECT_EQ(write(shared, root, ~u64{0}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::VP_RD, {.rcx = vcpu.value(), .rdx = shared}), SUCCESS);
    EXPECT_EQ(out.r8, root | 0x1e) << "with the TD's EPTP controls";
    EXPECT_EQ(write(shared, root | u64{kTdHkid} << mem::kHkidShift, ~u64{0}), METADATA_FIELD_VALUE_NOT_VALID);
    EXPECT_EQ(write(md::vmcs_field(static_cast<u32>(spec::VmcsField::GUEST_CR3)), 0, ~u64{0}),
              METADATA_FIELD_NOT_WRITABLE);
    EXPECT_EQ(write(md::VCPU_INDEX, 5, ~u64{0}), METADATA_FIELD_NOT_WRITABLE);
    EXPECT_EQ(write(md::vmcs_field(0x7fff), 5, ~u64{0}), METADATA_FIELD_ID_INCORRECT);
    EXPECT_EQ(write(md::PEND_NMI, 1, 1), SUCCESS);
}

TEST_F(Build, MrtdIsTheHashOfItsRecords)
{
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    sept_tables(kGpa);
    std::vector<u8> expected;
    const auto record = [&expected](const char* name, u64 gpa) {
        std::vector<u8> r(128);
        std::memcpy(r.data(), name, std::strlen(name));
        for (unsigned i = 0; i < 8; ++i)
            r[16 + i] = static_cast<u8>(gpa >> (8 * i));
        expected.insert(expected.end(), r.begin(), r.end());
    };
    const Hpa source = page();
    for (unsigned i = 0; i < kPageSize; ++i)
        mem::host_ptr<u8>(source)[i] = static_cast<u8>(i * 7);
    ASSERT_EQ(page_add(kGpa, page(), source), SUCCESS);
    record("MEM.PAGE.ADD", kGpa);
    for (u64 at = 0; at < kPageSize; at += 256) {
        ASSERT_EQ(call(TdhLeaf::MR_EXTEND, {.rcx = kGpa + at, .rdx = tdr.value()}), SUCCESS);
        record("MR.EXTEND", kGpa + at);
        const u8* chunk = mem::host_ptr<u8>(source) + at;
        expected.insert(expected.end(), chunk, chunk + 256);
    }
    ASSERT_EQ(page_add(kGpa + kPageSize, page(), source), SUCCESS);
    record("MEM.PAGE.ADD", kGpa + kPageSize);
    EXPECT_EQ(call(TdhLeaf::MR_EXTEND, {.rcx = kGpa + 8, .rdx = tdr.value()}),
              OPERAND_INVALID | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MR_EXTEND, {.rcx = kGpa + 0x2000, .rdx = tdr.value()}),
              EPT_ENTRY_NOT_PRESENT | TdxOperand::RCX);
    ASSERT_EQ(finalize(), SUCCESS);
    EXPECT_EQ(finalize(), OP_STATE_INCORRECT);
    EXPECT_EQ(page_add(kGpa + 0x2000, page(), source), OP_STATE_INCORRECT);
    u8 digest[48];
    ASSERT_EQ(EVP_Digest(expected.data(), expected.size(), digest, nullptr, EVP_sha384(), nullptr), 1);
    for (unsigned i = 0; i < 6; ++i) {
        u64 word;
        std::memcpy(&word, digest + 8 * i, 8);
        EXPECT_EQ(mng_rd(md::MRTD + i), word) << i;
    }
}

TEST_F(Build, TeardownGivesEveryPageBack)
{
    ASSERT_EQ(init_td(default_params()), SUCCESS);
    vcpu = create_vcpu();
    sept_tables(kGpa);
    ram = page();
    ASSERT_EQ(page_add(kGpa, ram, page()), SUCCESS);
    const cpu::SeamRegs the_td{.rcx = tdr.value()};
    EXPECT_EQ(call(TdhLeaf::MNG_VPFLUSHDONE, the_td), FLUSHVP_NOT_DONE);
    EXPECT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = vcpu.value()}, 0, 1), VCPU_NOT_ASSOCIATED);
    EXPECT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = vcpu.value()}), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_CACHE_WB), NO_HKID_READY_TO_WBCACHE);
    EXPECT_EQ(call(TdhLeaf::MNG_VPFLUSHDONE, the_td), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::MNG_VPFLUSHDONE, the_td), LIFECYCLE_STATE_INCORRECT);
    EXPECT_EQ(page_aug(kGpa + 0x1000, page()), TD_KEYS_NOT_CONFIGURED);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_FREEID, the_td), WBCACHE_NOT_COMPLETE);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_CACHE_WB, {.rcx = 1}), WBCACHE_RESUME_ERROR);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_CACHE_WB), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RECLAIM, {.rcx = ram.value()}), LIFECYCLE_STATE_INCORRECT);
    EXPECT_EQ(call(TdhLeaf::MNG_KEY_FREEID, the_td), SUCCESS);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RECLAIM, the_td), TD_ASSOCIATED_PAGES_EXIST);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = ram.value()}), SUCCESS);
    EXPECT_EQ(out.rcx, 3u);
    EXPECT_EQ(out.rdx, tdr.value());
    std::vector<Hpa> pages = tdcx;
    pages.insert(pages.end(), vcpu_pages.begin(), vcpu_pages.end());
    pages.insert(pages.end(), tables.begin(), tables.end());
    pages.push_back(ram);
    pages.push_back(tdr);
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_WBINVD, {.rcx = ram.value()}),
              PAGE_METADATA_INCORRECT | TdxOperand::RCX);
    for (const Hpa p : pages) {
        ASSERT_EQ(call(TdhLeaf::PHYMEM_PAGE_RECLAIM, {.rcx = p.value()}), SUCCESS);
        ASSERT_EQ(call(TdhLeaf::PHYMEM_PAGE_WBINVD, {.rcx = p.value() | u64{kTdHkid} << mem::kHkidShift}),
                  SUCCESS);
        ASSERT_EQ(call(TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = p.value()}), SUCCESS);
        EXPECT_EQ(out.rcx, 0u);
    }
    EXPECT_EQ(call(TdhLeaf::PHYMEM_PAGE_RECLAIM, the_td), PAGE_METADATA_INCORRECT | TdxOperand::RCX);
    EXPECT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = tdr.value(), .rdx = kTdHkid}), SUCCESS)
        << "page and key are free again";
}

} // namespace
} // namespace seamless::tdx
