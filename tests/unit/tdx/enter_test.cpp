// SPDX-License-Identifier: Apache-2.0
// TDH.VP.ENTER: what it refuses, the state it starts, TDVMCALL, TD exits and events that wait for the next
// entry.
#include "unit/tdx/running_td.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;
namespace md = spec::md;
namespace intr = spec::intr_info;
constexpr auto RCX = TdxOperand::RCX;
using Enter = RunningTd;

TEST_F(Enter, StartsInTheInitialState)
{
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    const cpu::Vmcs& v = lp().history[0].vmcs;
    const u64* gpr = lp().history[0].gpr;
    EXPECT_EQ(v.rip, 0xfffffff0u);
    EXPECT_EQ(v.cr0, 0x21u);
    EXPECT_EQ(v.cr4, 0x2040u);
    EXPECT_EQ(v.cr4_read_shadow, 0x40u);
    EXPECT_EQ(v.efer, 0x901u);
    EXPECT_EQ(v.seg[1].ar, 0xc09bu);
    EXPECT_EQ(v.ept_pointer, tdcx[6].value() | 0x1e);
    EXPECT_EQ(v.td_shared_bit, u64{1} << 47);
    EXPECT_EQ(v.ve_information_address, vcpu.value());
    EXPECT_TRUE(v.proc_based2 & spec::proc2::EPT_VIOLATION_VE);
    EXPECT_EQ(gpr[1], 0xabcdu);
    EXPECT_EQ(gpr[8], 0xabcdu);
    EXPECT_EQ(gpr[3], 48u);
}

TEST_F(Enter, Refusals)
{
    EXPECT_EQ(call(TdhLeaf::VP_ENTER, {.rcx = vcpu.value() | bit(60)}), OPERAND_INVALID | RCX);
    EXPECT_EQ(call(TdhLeaf::VP_ENTER, {.rcx = vcpu.value() | bit(52)}), OPERAND_INVALID | RCX)
        << "no trap to recover from";
    EXPECT_EQ(call(TdhLeaf::VP_ENTER, {.rcx = vcpu.value() | bit(53)}), OPERAND_INVALID | RCX);
    EXPECT_EQ(enter(tdr), PAGE_METADATA_INCORRECT | RCX);
    EXPECT_EQ(enter(vcpu, {}, 1), static_cast<TdxStatus>(0x8000070100000000))
        << "VP.INIT bound it to processor 0";
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    clock.tsc_value = 0;
    EXPECT_EQ(enter(vcpu), TSC_ROLLBACK);
}

TEST_F(Enter, TdvmcallExposesWhatTheMaskSays)
{
    u64 rip = 0;
    lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        c[Gpr::rax] = 0;
        c[Gpr::rcx] = bit(10) | bit(11) | bit(16); // R10, R11, XMM0
        c[Gpr::r10] = 0x10;
        c[Gpr::r11] = 0x11;
        c[Gpr::r12] = 0x12;
        c.xsave.bytes[160] = 0xee;
        c.xsave.bytes[176] = 0xdd;
        rip = vmcs.rip;
        exit(vmcs, ExitReason::TDCALL);
    });
    ASSERT_EQ(code(enter(vcpu, {.rbp = 0xb9, .r12 = 7})), 77u);
    EXPECT_EQ(out.rcx, bit(10) | bit(11) | bit(16));
    EXPECT_EQ(out.r10, 0x10u);
    EXPECT_EQ(out.r11, 0x11u);
    EXPECT_EQ(out.r12, 0u) << "not exposed";
    EXPECT_EQ(out.rbp, 0xb9u) << "NO_RBP_MOD";
    const auto traced = sink.of(trace::Event::tdx_tdcall);
    ASSERT_EQ(traced.size(), 1u);
    EXPECT_EQ(traced[0].values[1].kind, trace::Value::Kind::absent);
    lp().then([&](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        EXPECT_EQ(vmcs.rip, rip + 4);
        EXPECT_EQ(c[Gpr::rax], 0u);
        EXPECT_EQ(c[Gpr::rcx], bit(10) | bit(11) | bit(16));
        EXPECT_EQ(c[Gpr::r10], 0u);
        EXPECT_EQ(c[Gpr::r11], 0x99u);
        EXPECT_EQ(c[Gpr::r12], 0x12u) << "not exposed";
        EXPECT_EQ(c.xsave.bytes[160], 0u);
        EXPECT_EQ(c.xsave.bytes[176], 0xddu);
        exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
    });
    EXPECT_EQ(code(enter(vcpu, {.r10 = 0, .r11 = 0x99, .r12 = 0x77})), kInterrupted);
    for (const u64 mask : {bit(0), bit(1), bit(4), bit(5), bit(32)}) {
        tdcall(TdgLeaf::VP_VMCALL, {{Gpr::rcx, mask}},
               [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(OPERAND_INVALID | RCX)); });
        EXPECT_EQ(code(enter(vcpu)), kInterrupted);
    }
}

TEST_F(Enter, EptViolationsGoToTheHost)
{
    const auto violate = [this](u64 gpa, u64 qualification) {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            exit(vmcs, ExitReason::EPT_VIOLATION, 3, qualification);
            vmcs.guest_physical_address = gpa;
            vmcs.guest_linear_address = 0xffff800000001234;
        });
        return code(enter(vcpu));
    };
    EXPECT_EQ(violate(0x12345678, 0x181), 48u);
    EXPECT_EQ(out.rcx, 1u);
    EXPECT_EQ(out.rdx, 0u);
    EXPECT_EQ(out.r8, 0x12345000u);
    EXPECT_EQ(violate(0x8000FEC00010, 2), 48u);
    EXPECT_EQ(out.r8, 0x8000FEC00000u);
    ASSERT_EQ(page_aug(kGpa + 0x1000, page()), SUCCESS);
    EXPECT_EQ(violate(kGpa + 0x1678, 2), 48u);
    EXPECT_EQ(out.rdx, 6u) << "pending, and #VE is disabled";
    EXPECT_EQ(ve_info().valid, 0u);
}

TEST_F(Enter, OtherExits)
{
    const auto exits = [this](ExitReason reason, u32 info = 0) {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            exit(vmcs, reason, 0);
            vmcs.exit_intr_info = info;
        });
        return code(enter(vcpu, {.rbx = 5, .r15 = 6}));
    };
    EXPECT_EQ(exits(ExitReason::EXTERNAL_INTERRUPT, 0x800000ec), 1u);
    EXPECT_EQ(out.r9, 0x800000ecu);
    EXPECT_EQ(out.rbx, 0u);
    EXPECT_EQ(out.r15, 0u);
    EXPECT_EQ(exits(ExitReason::EXCEPTION_NMI, 0x80000202), 0u);
    EXPECT_EQ(out.r9, 0x80000202u);
    EXPECT_EQ(exits(ExitReason::TRIPLE_FAULT), 0x4000000100000002u);
    EXPECT_EQ(enter(vcpu), VCPU_STATE_INCORRECT | 8u);
}

TEST_F(Enter, MachineCheckEndsTheTd)
{
    lp().then([](cpu::Vmcs& vmcs, cpu::GuestContext&) {
        exit(vmcs, ExitReason::EXCEPTION_NMI, 0);
        vmcs.exit_intr_info = exception(Vector::MC);
    });
    EXPECT_EQ(enter(vcpu), NON_RECOVERABLE_TD_NON_ACCESSIBLE);
    EXPECT_EQ(enter(vcpu), TD_FATAL);
    EXPECT_EQ(page_aug(kGpa + 0x1000, page()), TD_FATAL);
    EXPECT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = vcpu.value()}), SUCCESS) << "teardown stays possible";
}

TEST_F(Enter, VectoredEventsAreDeliveredAgain)
{
    lp().then([](cpu::Vmcs& vmcs, cpu::GuestContext&) {
        exit(vmcs, ExitReason::EPT_VIOLATION, 3, 1);
        vmcs.guest_physical_address = 0x5000;
        vmcs.idt_vectoring_info = exception(Vector::PF, true);
        vmcs.idt_vectoring_error_code = 6;
    });
    EXPECT_EQ(code(enter(vcpu)), 48u);
    EXPECT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history.back().vmcs.entry_intr_info, exception(Vector::PF, true));
    EXPECT_EQ(lp().history.back().vmcs.entry_exception_error_code, 6u);
}

TEST_F(Enter, PendingNmiWaitsForVeInformation)
{
    ve_info().valid = spec::kVeInfoValid;
    ASSERT_EQ(call(TdhLeaf::VP_WR, {.rcx = vcpu.value(), .rdx = md::PEND_NMI, .r8 = 1, .r9 = 1}), SUCCESS);
    tdcall(TdgLeaf::VP_VEINFO_GET, {}, [](cpu::Vmcs&, cpu::GuestContext&) {});
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history[0].vmcs.entry_intr_info, 0u);
    EXPECT_EQ(lp().history[1].vmcs.entry_intr_info, intr::VALID | intr::NMI | 2);
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history[2].vmcs.entry_intr_info & intr::VALID, 0u);
}

TEST_F(Enter, TdcallOutsideLongModeIsGp)
{
    lp().then([](cpu::Vmcs& vmcs, cpu::GuestContext&) {
        vmcs.exit_reason = static_cast<u32>(ExitReason::TDCALL);
        vmcs.exit_instruction_len = 4;
    });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history.back().vmcs.entry_intr_info, exception(Vector::GP, true));
    tdcall(static_cast<TdgLeaf>(200), {},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(OPERAND_INVALID)); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
}

TEST_F(Enter, SharedOperandsAreVesOrExits)
{
    const u64 shared = u64{1} << 47 | 0x1000;
    // The reset value of SHARED_EPT_POINTER is a page of zeros: every access is a convertible violation.
    tdcall(TdgLeaf::MR_REPORT, {{Gpr::rcx, shared - 0x1000}, {Gpr::rdx, kGpa}, {Gpr::r8, 0}},
           [](cpu::Vmcs&, cpu::GuestContext&) {});
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(lp().history.back().vmcs.entry_intr_info, exception(Vector::VE));
    EXPECT_EQ(ve_info().gpa, shared - 0x1000);
    const Hpa root = page();
    for (unsigned i = 0; i < 512; ++i)
        mem::store<u64>(root + 8 * i, spec::ept::SUPPRESS_VE);
    const u64 field = md::vmcs_field(static_cast<u32>(spec::VmcsField::SHARED_EPT_POINTER));
    ASSERT_EQ(call(TdhLeaf::VP_WR, {.rcx = vcpu.value(), .rdx = field, .r8 = root.value(), .r9 = ~u64{0}}),
              SUCCESS);
    tdcall(TdgLeaf::MR_REPORT, {{Gpr::rcx, shared - 0x1000}, {Gpr::rdx, kGpa}, {Gpr::r8, 0}});
    EXPECT_EQ(code(enter(vcpu)), 48u);
    EXPECT_EQ(out.r8, shared - 0x1000);
}

} // namespace
} // namespace seamless::tdx
