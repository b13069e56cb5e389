// SPDX-License-Identifier: Apache-2.0
// Private pages that the guest touches before it accepts them: #VE where the TD was built without
// ATTRIBUTES.SEPT_VE_DISABLE, an exit to KVM where it was built with it.
#include "abi/running.h"
#include "spec/ept.h"
#include "spec/tdx_abi.h"
#include "spec/vmx.h"

namespace seamless::abi {
namespace {

namespace qual = spec::ept::qual; // of VE_INFO, as of the exit
using spec::TdgLeaf;
using spec::TdxStatus;
constexpr u64 kPage = TdRobot::kPrivate;
constexpr u64 kInside = kPage + 0x128;
// What TDX lets a guest see of every access; the bits above depend on the processor.
constexpr u64 kQualification =
    qual::READ | qual::WRITE | qual::FETCH | bits(5, 3) | qual::GLA_VALID | qual::GLA_TRANSLATED;

// Of the last order.
void expect_ve(TdRobot& td, u64 gpa, u64 access)
{
    const volatile Mailbox& m = td.mailbox();
    EXPECT_EQ(m.ve_count, 1u);
    EXPECT_EQ(m.ve_reason, static_cast<u64>(spec::ExitReason::EPT_VIOLATION));
    EXPECT_EQ(m.ve_gpa, gpa);
    EXPECT_EQ(m.ve_gla, gpa) << "mapped as it is";
    EXPECT_EQ(m.ve_qualification & kQualification, access | qual::GLA_VALID | qual::GLA_TRANSLATED);
    EXPECT_EQ(m.ve_instruction, 0u) << "no instruction causes this by itself";
    EXPECT_EQ(m.ve_status, 0u) << "TDG.MEM.PAGE.ACCEPT";
}

TEST(TdPending, WithoutSeptVeDisableThePageIsAcceptedInVe)
{
    Host host;
    TdRobot td(host, 1, true, 0);
    td.store(kInside, 0x5e);
    expect_ve(td, kInside, qual::WRITE);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 1u) << "KVM adds the page, and hears no more of it";
    EXPECT_EQ(td.load(kInside), 0x5eu);
    EXPECT_EQ(td.load(kPage), 0u);
    EXPECT_EQ(td.mailbox().ve_count, 0u) << "the page is the guest's";
    EXPECT_EQ(td.load(kPage + kPageSize), 0u);
    expect_ve(td, kPage + kPageSize, qual::READ);
    const auto ve = host.trace.of(Event::ve_inject);
    ASSERT_EQ(ve.size(), 2u);
    EXPECT_EQ(ve[0].values[3].number, kInside);
}

TEST(TdPending, AcceptedFirstThereIsNoVe)
{
    Host host;
    TdRobot td(host, 1, true, 0);
    ASSERT_EQ(td.accept(kPage), 0u);
    td.store(kInside, 0x5e);
    EXPECT_EQ(td.load(kInside), 0x5eu);
    EXPECT_TRUE(host.trace.of(Event::ve_inject).empty());
}

TEST(TdPending, WithSeptVeDisableTheAccessIsTheEndOfTheTd)
{
    Host host;
    TdRobot td(host);
    td.give(0, access(Mailbox::load, kInside));
    EXPECT_EQ(td.run_once(), -EIO);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 2u) << "one to add the page, one since it is not accepted";
    EXPECT_TRUE(host.trace.of(Event::ve_inject).empty());
    EXPECT_EQ(td.mailbox().ve_count, 0u);
}

// ATTRIBUTES say how TD_CTLS.PENDING_VE_DISABLE begins; the guest may not change it later, since KVM's TDs
// have no FLEXIBLE_PENDING_VE.
TEST(TdPending, TheGuestReadsTheRuleAndCannotChangeIt)
{
    for (const u64 attributes : {u64{0}, u64{spec::td_attributes::SEPT_VE_DISABLE}}) {
        Host host;
        TdRobot td(host, 1, true, attributes);
        Mailbox order{};
        order.order = Mailbox::tdcall;
        order.rax = spec::leaf_rax(TdgLeaf::VM_RD);
        order.rdx = spec::md::TD_CTLS;
        td.carry_out(0, order);
        EXPECT_EQ(td.mailbox().rax, 0u);
        const u64 now = td.mailbox().r8;
        EXPECT_EQ(now & spec::td_ctls::PENDING_VE_DISABLE, attributes ? 1u : 0u);
        order.rax = spec::leaf_rax(TdgLeaf::VM_WR);
        order.r8 = now ^ spec::td_ctls::PENDING_VE_DISABLE;
        order.r9 = spec::td_ctls::PENDING_VE_DISABLE;
        td.carry_out(0, order);
        EXPECT_EQ(td.mailbox().rax, static_cast<u64>(TdxStatus::METADATA_FIELD_VALUE_NOT_VALID));
    }
}

} // namespace
} // namespace seamless::abi
