// SPDX-License-Identifier: Apache-2.0
// CPL 3 in a TD: TDCALL is the kernel's alone, and TDG.VP.CPUIDVE.SET makes CPUID of users, of the kernel, or
// of both raise #VE. Intel TDX: "TDCALL"; TDX ABI: "TDG.VP.CPUIDVE.SET".
#include "abi/td_robot.h"
#include "spec/tdx_abi.h"
#include "spec/vmx.h"

namespace seamless::abi {
namespace {

using spec::TdgLeaf;

constexpr u32 kHypervisorLeaf = 0x40000000;
constexpr u64 kUserVe = 0xa020000000000008, kSupervisorVe = 0xa020000000000007;

class TdUser : public testing::Test {
  protected:
    volatile Mailbox& tdcall(Mailbox::Order how, TdgLeaf leaf, u64 rcx = 0, u64 rdx = 0)
    {
        Mailbox order{};
        order.order = how;
        order.rax = static_cast<u64>(leaf);
        order.rcx = rcx;
        order.rdx = rdx;
        order.r8 = 0x88;
        td.carry_out(0, order);
        return td.mailbox();
    }
    volatile Mailbox& cpuid(Mailbox::Order how, u32 leaf)
    {
        Mailbox order{};
        order.order = how;
        order.rax = leaf;
        order.rbx = order.rdx = kUntouched;
        td.carry_out(0, order);
        return td.mailbox();
    }
    void expect_ve(Mailbox::Order how, u32 leaf)
    {
        const volatile Mailbox& m = cpuid(how, leaf);
        EXPECT_EQ(m.ve_count, 1u);
        EXPECT_EQ(m.ve_reason, static_cast<u64>(spec::ExitReason::CPUID));
        EXPECT_EQ(m.ve_qualification, 0u);
        EXPECT_EQ(m.ve_gpa, 0u);
        EXPECT_EQ(m.ve_instruction & 0xffffffff, 2u);
        EXPECT_EQ(m.rax, leaf) << "the handler left the instruction out";
        EXPECT_EQ(m.rbx, kUntouched);
        EXPECT_EQ(m.gp_count, 0u);
    }
    void expect_value(Mailbox::Order how)
    {
        const volatile Mailbox& m = cpuid(how, 0);
        EXPECT_EQ(m.ve_count, 0u);
        EXPECT_EQ(m.rbx, 0x756e6547u); // Genu
        EXPECT_EQ(m.rdx, 0x49656e69u); // ineI
    }
    u64 set_cpuid_ve(u64 modes) { return tdcall(Mailbox::tdcall, TdgLeaf::VP_CPUIDVE_SET, modes).rax; }
    u64 vp_field(u64 field) { return tdcall(Mailbox::tdcall, TdgLeaf::VP_RD, 0, field).r8; }

    static constexpr u64 kUntouched = 0x5a5a;
    Host host;
    TdRobot td{host};
};

TEST_F(TdUser, TdcallIsAProtectionFaultAndNoExit)
{
    for (const TdgLeaf leaf : {TdgLeaf::VP_INFO, TdgLeaf::VP_VMCALL, TdgLeaf::VP_VEINFO_GET}) {
        host.trace.records.clear();
        const volatile Mailbox& m = tdcall(Mailbox::user_tdcall, leaf, 0xfc00);
        EXPECT_EQ(m.gp_count, 1u);
        EXPECT_EQ(m.gp_error, 0u);
        EXPECT_EQ(m.gp_cs, TdRobot::kUserCode);
        EXPECT_EQ(m.ve_count, 0u);
        EXPECT_EQ(m.rax, static_cast<u64>(leaf)) << "nothing was called";
        EXPECT_EQ(m.rcx, 0xfc00u);
        EXPECT_EQ(m.r8, 0x88u);
        EXPECT_EQ(host.trace.exits("TDCALL"), 0u);
        EXPECT_EQ(host.trace.of(Event::tdx_tdcall).size(), 1u) << "the report's";
    }
    const volatile Mailbox& m = tdcall(Mailbox::tdcall, TdgLeaf::VP_INFO);
    EXPECT_EQ(m.gp_count, 0u);
    EXPECT_EQ(m.rax, 0u) << "the kernel may";
    EXPECT_EQ(m.rcx, 48u);
}

TEST_F(TdUser, CpuidRaisesVeInTheModesThatTheTdChose)
{
    for (const u64 modes : {0, 1, 2, 3, 0}) {
        SCOPED_TRACE(modes);
        EXPECT_EQ(set_cpuid_ve(modes), 0u);
        EXPECT_EQ(vp_field(kSupervisorVe), modes & 1);
        EXPECT_EQ(vp_field(kUserVe), modes >> 1);
        modes & 1 ? expect_ve(Mailbox::cpuid, 0) : expect_value(Mailbox::cpuid);
        modes & 2 ? expect_ve(Mailbox::user_cpuid, 0) : expect_value(Mailbox::user_cpuid);
    }
}

TEST_F(TdUser, LeavesOfTheHypervisorRaiseVeAnyway)
{
    EXPECT_EQ(set_cpuid_ve(0), 0u);
    expect_ve(Mailbox::cpuid, kHypervisorLeaf);
    expect_ve(Mailbox::user_cpuid, kHypervisorLeaf);
}

TEST_F(TdUser, CannotChooseTheModesItself)
{
    EXPECT_EQ(tdcall(Mailbox::user_tdcall, TdgLeaf::VP_CPUIDVE_SET, 3).gp_count, 1u);
    EXPECT_EQ(vp_field(kUserVe), 0u);
    expect_value(Mailbox::user_cpuid);
    EXPECT_EQ(set_cpuid_ve(4), static_cast<u64>(spec::TdxStatus::OPERAND_INVALID | spec::TdxOperand::RCX));
    EXPECT_EQ(vp_field(kUserVe), 0u);
    EXPECT_EQ(vp_field(kSupervisorVe), 0u);
}

} // namespace
} // namespace seamless::abi
