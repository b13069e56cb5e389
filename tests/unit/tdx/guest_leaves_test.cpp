// SPDX-License-Identifier: Apache-2.0
// TDG leaves that inform a TD and attest it: VP.INFO, metadata fields, RTMRs and reports.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "unit/tdx/running_td.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;
namespace md = spec::md;
constexpr auto RCX = TdxOperand::RCX;
using GuestLeaves = RunningTd;

TEST_F(GuestLeaves, InformationAndMetadataOfTheGuest)
{
    tdcall(TdgLeaf::VP_INFO, {}, [](cpu::Vmcs&, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rcx], 48u);
        EXPECT_EQ(c[Gpr::rdx], spec::td_attributes::SEPT_VE_DISABLE);
        EXPECT_EQ(c[Gpr::r8], 1u | u64{2} << 32);
    });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    const auto rd = [this](u64 id, TdxStatus status, u64 value) {
        tdcall(TdgLeaf::VM_RD, {{Gpr::rcx, 0}, {Gpr::rdx, id}, {Gpr::r8, 5}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) {
                   EXPECT_EQ(c[Gpr::rax], code(status));
                   EXPECT_EQ(c[Gpr::r8], value);
               });
        ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    };
    rd(0x1110000300000016, SUCCESS, spec::config_flags::NO_RBP_MOD); // as Linux spells CONFIG_FLAGS
    rd(md::TD_CTLS, SUCCESS, 1);
    rd(0x1110000300777777, METADATA_FIELD_ID_INCORRECT, 0);
    rd(md::OP_STATE, METADATA_FIELD_NOT_READABLE, 0);
    const auto wr = [this](u64 id, u64 data, u64 mask, TdxStatus status) {
        tdcall(TdgLeaf::VM_WR, {{Gpr::rcx, 0}, {Gpr::rdx, id}, {Gpr::r8, data}, {Gpr::r9, mask}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(status)); });
        ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    };
    wr(md::NOTIFY_ENABLES, 1, ~u64{0}, SUCCESS);
    wr(md::TD_CTLS, 0, 1, METADATA_FIELD_VALUE_NOT_VALID); // needs FLEXIBLE_PENDING_VE
    wr(md::XFAM, 0, 1, METADATA_FIELD_NOT_WRITABLE);
    wr(md::TD_CTLS, spec::td_ctls::REDUCE_VE, spec::td_ctls::REDUCE_VE, SUCCESS);
    EXPECT_EQ(injected(ExitReason::CPUID, [](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rax] = 2; }), 0u);
}

TEST_F(GuestLeaves, ReportHasLayoutHashesAndMac)
{
    for (unsigned i = 0; i < 64; ++i)
        mem::host_ptr<u8>(ram)[0x800 + i] = static_cast<u8>(i);
    tdcall(TdgLeaf::MR_RTMR_EXTEND, {{Gpr::rcx, kGpa + 0x800}, {Gpr::rdx, 2}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    tdcall(TdgLeaf::MR_REPORT, {{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa + 0x800}, {Gpr::r8, 0}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    const u8* r = mem::host_ptr<u8>(ram);
    const auto sha = [](const u8* data, std::size_t size) {
        std::array<u8, 48> d;
        EXPECT_EQ(EVP_Digest(data, size, d.data(), nullptr, EVP_sha384(), nullptr), 1);
        return d;
    };
    EXPECT_EQ(r[0], 0x81);
    EXPECT_EQ(std::memcmp(r + 128, r + 0x800, 64), 0) << "REPORTDATA";
    EXPECT_EQ(std::memcmp(r + 32, sha(r + 256, 239).data(), 48), 0);
    EXPECT_EQ(std::memcmp(r + 80, sha(r + 512, 512).data(), 48), 0);
    u8 mac[32];
    unsigned length = 0;
    const PlatformKey k = key();
    HMAC(EVP_sha256(), k.data(), k.size(), r, 224, mac, &length);
    EXPECT_EQ(std::memcmp(r + 224, mac, 32), 0);
    u8 extended[96] = {};
    std::memcpy(extended + 48, r + 0x800, 48);
    EXPECT_EQ(std::memcmp(r + 720 + 2 * 48, sha(extended, 96).data(), 48), 0) << "RTMR[2]";
    for (unsigned i = 0; i < 6; ++i) {
        u64 word;
        std::memcpy(&word, r + 528 + 8 * i, 8);
        EXPECT_EQ(word, mng_rd(md::MRTD + i));
    }
    const std::pair<Regs, TdxStatus> bad[] = {
        {{{Gpr::rcx, kGpa + 8}}, OPERAND_INVALID | RCX},
        {{{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa + 8}}, OPERAND_INVALID | TdxOperand::RDX},
        {{{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa}, {Gpr::r8, 1}}, OPERAND_INVALID | TdxOperand::R8}};
    for (const auto& [regs, status] : bad) {
        tdcall(TdgLeaf::MR_REPORT, regs,
               [s = status](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(s)); });
        ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    }
    tdcall(TdgLeaf::MR_RTMR_EXTEND, {{Gpr::rcx, kGpa}, {Gpr::rdx, 4}}, [](cpu::Vmcs&, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rax], code(OPERAND_INVALID | TdxOperand::RDX));
    });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
}

TEST_F(GuestLeaves, ReportsVerifyOnTheirOwnPlatform)
{
    const auto verify = [](TdHost& host, u64 gpa, TdxStatus status) {
        host.tdcall(TdgLeaf::MR_VERIFYREPORT, {{Gpr::rcx, gpa}},
                    [=](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(status)); });
        ASSERT_EQ(code(host.enter(host.vcpu)), kInterrupted);
    };
    tdcall(TdgLeaf::MR_REPORT, {{Gpr::rcx, kGpa}, {Gpr::rdx, kGpa + 0x800}, {Gpr::r8, 0}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    verify(*this, kGpa, SUCCESS);
    verify(*this, kGpa + 8, OPERAND_INVALID | RCX);
    verify(*this, u64{1} << 47, OPERAND_INVALID | RCX);
    TdHost other(std::nullopt);
    other.build();
    std::memcpy(mem::host_ptr(other.ram), mem::host_ptr(ram), 256);
    verify(other, kGpa, INVALID_REPORTMACSTRUCT);
    mem::host_ptr<u8>(ram)[128] ^= 1; // REPORTDATA
    verify(*this, kGpa, INVALID_REPORTMACSTRUCT);
    mem::host_ptr<u8>(ram)[16] = 1;
    verify(*this, kGpa, INVALID_CPUSVN);
}

TEST_F(GuestLeaves, GuestsReadAndWriteFieldsOfTheirVcpu)
{
    const auto access = [this](TdgLeaf leaf, u64 id, u64 data, TdxStatus status, u64 value) {
        tdcall(leaf, {{Gpr::rdx, id}, {Gpr::r8, data}, {Gpr::r9, ~u64{0}}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) {
                   EXPECT_EQ(c[Gpr::rax], code(status));
                   EXPECT_EQ(c[Gpr::r8], value);
               });
        ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    };
    access(TdgLeaf::VP_RD, md::CPUID_SUPERVISOR_VE, 5, SUCCESS, 0);
    access(TdgLeaf::VP_WR, md::CPUID_SUPERVISOR_VE, 1, SUCCESS, 0);
    access(TdgLeaf::VP_RD, md::CPUID_SUPERVISOR_VE, 5, SUCCESS, 1);
    access(TdgLeaf::VP_RD, md::VCPU_XCR0, 5, METADATA_FIELD_NOT_READABLE, 0);
    access(TdgLeaf::VP_WR, md::PEND_NMI, 1, METADATA_FIELD_NOT_WRITABLE, 0);
    access(TdgLeaf::VP_RD, md::vmcs_field(0x6802), 5, METADATA_FIELD_ID_INCORRECT, 0);
    EXPECT_EQ(injected(ExitReason::CPUID, [](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rax] = 7; }),
              exception(Vector::VE));
    tdcall(TdgLeaf::VM_WR, {{Gpr::rcx, 0},
                            {Gpr::rdx, md::TD_CTLS},
                            {Gpr::r8, spec::td_ctls::LOCK},
                            {Gpr::r9, spec::td_ctls::LOCK}});
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    access(TdgLeaf::VP_WR, md::CPUID_SUPERVISOR_VE, 0, METADATA_FIELD_VALUE_NOT_VALID, 0);
}

} // namespace
} // namespace seamless::tdx
