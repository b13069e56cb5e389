// SPDX-License-Identifier: Apache-2.0
// The compact forms of extended state. SDM: "Managing State Using the XSAVE Feature Set".
#include <array>
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;

constexpr u64 kArea = GuestMachine::kData, kResult = kArea + 0x1000;
constexpr u64 kBv = kArea + 512, kComp = kArea + 520, kXmm0 = kArea + 160;
constexpr u64 kCompact = bit(63);

class Xsave : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    Xsave()
    {
        machine.vmcs.msr_bitmap = machine.host->alloc_page().value().value(); // no MSR exits
        machine.vmcs.proc_based |= spec::proc::MSR_BITMAPS;
        machine.vmcs.proc_based2 |= spec::proc2::XSAVES;
        machine.gpr(Gpr::rdi) = kArea;
        machine.gpr(Gpr::rsi) = kResult;
        machine.gpr(Gpr::rax) = 3; // x87, SSE
        machine.gpr(Gpr::rdx) = 0;
    }
    void run(std::initializer_list<u8> code) { ASSERT_EQ(machine.run(code), ExitReason::VMCALL); }
    void expect_fault(Vector vector) { EXPECT_EQ(machine.handled_vector(), static_cast<int>(vector)); }
    void expect_ones(u64 at)
    {
        EXPECT_EQ(machine.handled_vector(), -1);
        EXPECT_EQ(machine.get<u64>(at), ~u64{0});
        EXPECT_EQ(machine.get<u64>(at + 8), ~u64{0});
    }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Xsave, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Xsave, XsavecAndXsavesWriteTheCompactForm)
{
    for (const u8 modrm : std::to_array<u8>({0x27, 0x2f})) { // xsavec, xsaves
        machine.put<u64>(kComp, 0);
        machine.put<u64>(kXmm0, 0);
        run({0x66, 0x0f, 0x76, 0xc0, 0x0f, 0xc7, modrm}); // pcmpeqd xmm0, xmm0; insn [rdi]
        expect_ones(kXmm0);
        EXPECT_EQ(machine.get<u64>(kComp), kCompact | 3);
        EXPECT_EQ(machine.get<u64>(kBv) & ~u64{1}, 2u);
    }
}

TEST_P(Xsave, XrstorAndXrstorsTakeTheCompactForm)
{
    machine.put<u64>(kBv, 2);
    machine.put<u64>(kComp, kCompact | 3);
    machine.put<u32>(kArea + 24, 0x1f80);
    machine.put<u64>(kXmm0, ~u64{0});
    machine.put<u64>(kXmm0 + 8, ~u64{0});
    run({0x66, 0x0f, 0xef, 0xc0, 0x0f, 0xae, 0x2f, 0xf3, 0x0f, 0x7f,
         0x06}); // pxor; xrstor; movdqu [rsi], xmm0
    expect_ones(kResult);
    machine.put<u64>(kResult, 0);
    run({0x66, 0x0f, 0xef, 0xc0, 0x0f, 0xc7, 0x1f, 0xf3, 0x0f, 0x7f, 0x06}); // xrstors
    expect_ones(kResult);
}

TEST_P(Xsave, XsaveoptWritesTheStandardForm)
{
    run({0x66, 0x0f, 0x76, 0xc0, 0x0f, 0xae, 0x37});
    expect_ones(kXmm0);
    EXPECT_EQ(machine.get<u64>(kComp), 0u);
}

TEST_P(Xsave, HeadersAreChecked)
{
    machine.put<u32>(kArea + 24, 0x1f80);
    run({0x0f, 0xc7, 0x1f}); // xrstors of a standard form
    expect_fault(Vector::GP);
    const auto refused = [&](u64 bv, u64 comp) {
        machine.put<u64>(kBv, bv);
        machine.put<u64>(kComp, comp);
        run({0x0f, 0xae, 0x2f}); // xrstor
        expect_fault(Vector::GP);
    };
    refused(0, kCompact | bit(9)); // not in XCR0
    refused(4, kCompact | 3);      // in XSTATE_BV alone
    refused(bit(9), 0);
    machine.put<u64>(kComp + 8, 1); // reserved
    refused(0, kCompact | 3);
}

TEST_P(Xsave, SupervisorStateIsTheSupervisors)
{
    for (const u8 modrm : std::to_array<u8>({0x2f, 0x1f})) { // xsaves, xrstors
        machine.user_mode();
        run({0x0f, 0xc7, modrm});
        expect_fault(Vector::GP);
        machine.reset_state();
        machine.vmcs.proc_based2 |= spec::proc2::XSAVES;
        machine.gpr(Gpr::rdi) = kArea;
    }
    machine.vmcs.proc_based2 &= ~spec::proc2::XSAVES;
    run({0x0f, 0xc7, 0x2f});
    expect_fault(Vector::UD);
}

TEST_P(Xsave, ThereIsNoSupervisorState)
{
    machine.gpr(Gpr::rcx) = 0xda0; // IA32_XSS
    for (const u64 value : {u64{0}, bit(8), bit(11)}) {
        machine.gpr(Gpr::rax) = value;
        run({0x0f, 0x30});
        EXPECT_EQ(machine.handled_vector(), value == 0 ? -1 : static_cast<int>(Vector::GP)) << value;
    }
}

TEST_P(Xsave, WithoutOsxsaveThereIsNone)
{
    machine.vmcs.cr4 &= ~u64{spec::cr4::OSXSAVE};
    for (const u8 modrm : std::to_array<u8>({0x27, 0x2f, 0x1f})) {
        run({0x0f, 0xc7, modrm});
        expect_fault(Vector::UD);
    }
}

} // namespace
} // namespace seamless
