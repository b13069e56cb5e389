// SPDX-License-Identifier: Apache-2.0
// What a TD's instructions become: #VE with its information, virtual CPUID, MSRs and control registers.
#include "unit/tdx/running_td.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;
namespace md = spec::md;
constexpr auto RCX = TdxOperand::RCX;
using Virtualization = RunningTd;

TEST_F(Virtualization, InstructionBecomesVeWithInformation)
{
    runs(
        ExitReason::IO_INSTRUCTION, [](cpu::Vmcs&, cpu::GuestContext&) {},
        [this](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            EXPECT_EQ(vmcs.rip, 0xfffffff0u) << "fault-like";
            EXPECT_TRUE(vmcs.rflags & spec::rflags::RF);
            EXPECT_EQ(ve_info().exit_reason, 30u);
            EXPECT_EQ(ve_info().valid, 0xffffffffu);
            EXPECT_EQ(ve_info().exit_qualification, 0x3f80000u);
            EXPECT_EQ(ve_info().instruction_length, 2u);
        },
        2, 0x3f80000);
    EXPECT_EQ(lp().history.back().vmcs.entry_intr_info, exception(Vector::VE));
    const auto traced = sink.of(trace::Event::ve_inject);
    ASSERT_EQ(traced.size(), 1u);
    EXPECT_STREQ(traced[0].values[0].text, "IO_INSTRUCTION");
    tdcall(TdgLeaf::VP_VEINFO_GET, {}, [](cpu::Vmcs&, cpu::GuestContext& c) {
        EXPECT_EQ(c[Gpr::rax], 0u);
        EXPECT_EQ(c[Gpr::rcx], 30u);
        EXPECT_EQ(c[Gpr::rdx], 0x3f80000u);
        EXPECT_EQ(c[Gpr::r10], 2u);
    });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    tdcall(TdgLeaf::VP_VEINFO_GET, {},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0xC000070400000000u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
}

TEST_F(Virtualization, VeWhileInformationIsUnreadIsDoubleFault)
{
    ve_info().valid = spec::kVeInfoValid;
    ve_info().exit_reason = 48;
    const auto nothing = [](cpu::Vmcs&, cpu::GuestContext&) {};
    EXPECT_EQ(injected(ExitReason::HLT, nothing), exception(Vector::DF, true));
    EXPECT_EQ(ve_info().exit_reason, 48u);
    EXPECT_EQ(injected(ExitReason::HLT, nothing), exception(Vector::VE));
    EXPECT_EQ(injected(ExitReason::GETSEC, nothing), exception(Vector::UD));
    EXPECT_EQ(injected(ExitReason::RDPMC, nothing), exception(Vector::GP, true));
}

TEST_F(Virtualization, CpuidIsVirtual)
{
    const auto cpuid = [this](u32 leaf, u32 subleaf) {
        cpu::CpuidResult r;
        runs(
            ExitReason::CPUID,
            [=](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rax] = leaf, c[Gpr::rcx] = subleaf; },
            [&r](cpu::Vmcs&, cpu::GuestContext& c) {
                r = {static_cast<u32>(c[Gpr::rax]), static_cast<u32>(c[Gpr::rbx]),
                     static_cast<u32>(c[Gpr::rcx]), static_cast<u32>(c[Gpr::rdx])};
            });
        return r;
    };
    EXPECT_EQ(cpuid(0, 0), (cpu::CpuidResult{0x23, 0x756e6547, 0x6c65746e, 0x49656e69}));
    EXPECT_EQ(cpuid(0x21, 0), (cpu::CpuidResult{0, 0x65746e49, 0x20202020, 0x5844546c}));
    EXPECT_EQ(cpuid(0x15, 0), (cpu::CpuidResult{1, 40, 25000000, 0}));
    EXPECT_EQ(cpuid(1, 0).eax, 0x806f8u);
    EXPECT_EQ(cpuid(0x80000008, 0).eax >> 8 & 0xff, 57u) << "LA57 is offered";
    EXPECT_TRUE(test(cpuid(1, 0).ecx, 31));
    EXPECT_FALSE(test(cpuid(1, 0).ecx, 28)) << "no AVX: XFAM has only x87 and SSE";
    EXPECT_EQ(cpuid(0xd, 0).eax, 3u);
    EXPECT_EQ(cpuid(7, 0).edx & 0xbc000400, 0xbc000400)
        << "against speculation, as the platform's identity has";
    EXPECT_EQ(cpuid(7, 2).edx & 0x17, 0x17u);
    EXPECT_EQ(cpuid(0x90000000, 0), cpuid(0x23, 0));
    EXPECT_TRUE(test(cpuid(0x80000001, 0).edx, 11)) << "SYSCALL, in 64-bit mode";
    const auto leaf = [this](u32 n) {
        return injected(ExitReason::CPUID, [n](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rax] = n; });
    };
    EXPECT_EQ(leaf(0x40000000), exception(Vector::VE));
    EXPECT_EQ(leaf(2), exception(Vector::VE));
    EXPECT_EQ(leaf(7), 0u);
    tdcall(TdgLeaf::VP_CPUIDVE_SET, {{Gpr::rcx, 1}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    EXPECT_EQ(leaf(7), exception(Vector::VE));
    tdcall(TdgLeaf::VP_CPUIDVE_SET, {{Gpr::rcx, 4}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], code(OPERAND_INVALID | RCX)); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
}

TEST_F(Virtualization, MsrsFollowTheTable)
{
    const auto reads = [this](u32 msr) {
        return injected(ExitReason::MSR_READ, [msr](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rcx] = msr; });
    };
    const auto writes = [this](u32 msr, u64 value) {
        return injected(ExitReason::MSR_WRITE, [=](cpu::Vmcs&, cpu::GuestContext& c) {
            c[Gpr::rcx] = msr, c[Gpr::rax] = value & 0xffffffff, c[Gpr::rdx] = value >> 32;
        });
    };
    EXPECT_EQ(reads(0x1b), exception(Vector::VE));
    EXPECT_EQ(reads(0x4b564d00), exception(Vector::VE));
    EXPECT_EQ(reads(0x1234), exception(Vector::GP, true));
    EXPECT_EQ(reads(0x480), exception(Vector::GP, true));
    EXPECT_EQ(reads(0xc1), exception(Vector::GP, true)) << "no PERFMON";
    EXPECT_EQ(reads(0xbd), 0u);
    EXPECT_EQ(lp().history.back().gpr[0], 1u);
    EXPECT_EQ(writes(0xc0000080, 0x901), 0u);
    EXPECT_EQ(writes(0xc0000080, 0x101), exception(Vector::VE));
    EXPECT_EQ(writes(0xda0, 1), exception(Vector::GP, true));
    EXPECT_EQ(writes(0xfe, 1), exception(Vector::GP, true));
    const u8* bitmap = mem::host_ptr<u8>(tdcx[5]);
    const auto read_exits = [bitmap](u32 msr) {
        return bitmap[(msr >= 0xc0000000 ? 1024 : 0) + (msr & 0x1fff) / 8] >> (msr & 7) & 1;
    };
    EXPECT_EQ(read_exits(0x277), 0);
    EXPECT_EQ(read_exits(0x808), 0);
    EXPECT_EQ(read_exits(0xc0000101), 0);
    EXPECT_EQ(read_exits(0x1b), 1);
    EXPECT_EQ(read_exits(0xc0000083), 1);
    EXPECT_EQ(bitmap[2048 + 0x10 / 8] & 1, 1) << "WRMSR of the TSC exits";
}

TEST_F(Virtualization, ControlRegisterWrites)
{
    const auto mov = [this](unsigned cr, u64 value) {
        return injected(
            ExitReason::CR_ACCESS, [=](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rbx] = value; },
            cr | 3u << 8);
    };
    EXPECT_EQ(mov(0, 0x80000011), exception(Vector::GP, true)) << "NE clear";
    EXPECT_EQ(mov(0, 0x40000021), exception(Vector::VE)) << "CD set";
    EXPECT_EQ(mov(4, 0x20), exception(Vector::VE)) << "MCE clear";
    EXPECT_EQ(mov(4, 0x2060), exception(Vector::VE)) << "VMXE set";
    EXPECT_EQ(mov(4, 0x60 | spec::cr4::PKE), exception(Vector::GP, true));
    EXPECT_EQ(mov(4, 0x6e0), 0u);
    EXPECT_EQ(lp().history.back().vmcs.cr4, 0x26e0u);
    const auto xsetbv = [this](u64 value) {
        return injected(ExitReason::XSETBV, [=](cpu::Vmcs&, cpu::GuestContext& c) {
            c[Gpr::rax] = value, c[Gpr::rcx] = c[Gpr::rdx] = 0;
        });
    };
    EXPECT_EQ(xsetbv(3), 0u);
    EXPECT_EQ(xsetbv(2), exception(Vector::GP, true));
    EXPECT_EQ(xsetbv(7), exception(Vector::GP, true)) << "AVX is not in XFAM";
}

TEST_F(Virtualization, ReducedVeAnswersMsrs)
{
    const auto reads = [this](u32 msr) {
        return injected(ExitReason::MSR_READ, [msr](cpu::Vmcs&, cpu::GuestContext& c) { c[Gpr::rcx] = msr; });
    };
    const auto writes = [this](u32 msr, u64 value) {
        return injected(ExitReason::MSR_WRITE, [=](cpu::Vmcs&, cpu::GuestContext& c) {
            c[Gpr::rcx] = msr, c[Gpr::rax] = value & 0xffffffff, c[Gpr::rdx] = value >> 32;
        });
    };
    constexpr u32 kAnswered[] = {0x34, 0x3a, 0x4e, 0x8b, 0xce, 0x140};
    for (const u32 msr : kAnswered)
        EXPECT_EQ(reads(msr), exception(Vector::VE)) << std::hex << msr;
    EXPECT_EQ(writes(0x1a0, 1), exception(Vector::VE));
    tdcall(TdgLeaf::VM_WR,
           {{Gpr::rcx, 0},
            {Gpr::rdx, md::TD_CTLS},
            {Gpr::r8, spec::td_ctls::REDUCE_VE},
            {Gpr::r9, spec::td_ctls::REDUCE_VE}},
           [](cpu::Vmcs&, cpu::GuestContext& c) { EXPECT_EQ(c[Gpr::rax], 0u); });
    ASSERT_EQ(code(enter(vcpu)), kInterrupted);
    const auto answer = [&](u32 msr) {
        EXPECT_EQ(reads(msr), 0u) << std::hex << msr;
        return lp().history.back().gpr[0] | lp().history.back().gpr[2] << 32;
    };
    EXPECT_EQ(writes(0x34, 77), 0u);
    EXPECT_EQ(answer(0x34), 77u);
    EXPECT_EQ(answer(0x3a), 1u);
    EXPECT_EQ(answer(0x4e), 1u);
    EXPECT_EQ(writes(0x8b, 5), 0u);
    EXPECT_EQ(answer(0x8b), 0xffffffffu);
    EXPECT_EQ(answer(0xce), 0u);
    EXPECT_EQ(writes(0x140, 0), 0u);
    EXPECT_EQ(answer(0x140), 0u);
    EXPECT_EQ(writes(0x1a0, 1), 0u);
    EXPECT_EQ(answer(0x1a0), 1u);
    EXPECT_EQ(writes(0x79, 1), 0u);
    const auto gp = exception(Vector::GP, true);
    EXPECT_EQ(writes(0x1a0, 4), gp);
    EXPECT_EQ(writes(0x140, 1), gp);
    EXPECT_EQ(writes(0x3a, 1), gp);
    EXPECT_EQ(writes(0xce, 1), gp);
    for (const u32 msr : {0x17u, 0x3bu, 0x4fu, 0x79u, 0x7au, 0xe7u, 0x123u, 0x1b1u})
        EXPECT_EQ(msr == 0x17 ? writes(msr, 0) : reads(msr), gp) << std::hex << msr;
}

} // namespace
} // namespace seamless::tdx
