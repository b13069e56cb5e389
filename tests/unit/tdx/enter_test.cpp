// SPDX-License-Identifier: Apache-2.0
// TDs that run: TDVMCALL, #VE, TD exits, virtual CPUID, MSRs and control registers, reports.
#include <algorithm>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;
namespace md = spec::md;
namespace intr = spec::intr_info;
constexpr auto RCX = TdxOperand::RCX;
constexpr u64 kInterrupted = 1; // RAX of a TD exit for an external interrupt

constexpr u32 exception(Vector v, bool error = false)
{
    return intr::VALID | intr::HARDWARE_EXCEPTION | static_cast<u32>(v) | (error ? intr::ERROR_CODE : 0);
}

struct Enter : testing::Test, TdHost {
    void SetUp() override { build(); }

    using Step = std::function<void(cpu::Vmcs&, cpu::GuestContext&)>;
    // The guest exits with `reason` after `prepare`; `check` sees the next entry; then an interrupt ends the
    // run.
    void runs(ExitReason reason, Step prepare, Step check, u32 length = 2, u64 qualification = 0)
    {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            exit(vmcs, reason, length, qualification);
            prepare(vmcs, c);
        });
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            check(vmcs, c);
            exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
        });
        EXPECT_EQ(code(enter(vcpu)), kInterrupted);
        EXPECT_EQ(lp().left(), 0u);
    }
    // The exception injected at the entry after the exit of `prepare`.
    u32 injected(ExitReason reason, Step prepare, u64 qualification = 0)
    {
        u32 info = 0;
        runs(
            reason, std::move(prepare), [](cpu::Vmcs&, cpu::GuestContext&) {}, 2, qualification);
        info = lp().history.back().vmcs.entry_intr_info;
        ve_info().valid = 0;
        return info & intr::VALID ? info : 0;
    }
    spec::VeInfo& ve_info() { return *mem::host_ptr<spec::VeInfo>(vcpu); }
};

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

TEST_F(Enter, InstructionBecomesVeWithInformation)
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

TEST_F(Enter, VeWhileInformationIsUnreadIsDoubleFault)
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

TEST_F(Enter, CpuidIsVirtual)
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

TEST_F(Enter, MsrsFollowTheTable)
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

TEST_F(Enter, ControlRegisterWrites)
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

TEST_F(Enter, InformationAndMetadataOfTheGuest)
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

TEST_F(Enter, ReportHasLayoutHashesAndMac)
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

TEST_F(Enter, ReportsVerifyOnTheirOwnPlatform)
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

TEST_F(Enter, GuestsReadAndWriteFieldsOfTheirVcpu)
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

TEST_F(Enter, ReducedVeAnswersMsrs)
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
