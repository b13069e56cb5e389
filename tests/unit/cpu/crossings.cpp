// SPDX-License-Identifier: Apache-2.0
// System calls, STAC, CLAC, STI and PUSHF again and again: what goes without C++ from the second time on does
// what C++ does, and notices what has changed meanwhile.
#include <array>
#include <gtest/gtest.h>
#include <thread>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
namespace rf = spec::rflags;

constexpr u64 kKernel = 0x30000, kOtherKernel = 0x31000, kUser = 0x20000;
constexpr u64 kRounds = 20;
constexpr u32 kFmask = 0xc0000084, kLstar = 0xc0000082, kEfer = 0xc0000080;

class Crossings : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    Crossings()
    {
        machine.vmcs.msr_bitmap = machine.host->alloc_page().value().value(); // no MSR exits
        machine.vmcs.proc_based |= spec::proc::MSR_BITMAPS;
        machine.context.star = u64{GuestMachine::kDs | 3} << 48 | u64{GuestMachine::kCs} << 32;
        machine.context.lstar = kKernel;
        machine.context.fmask = rf::TF | rf::AC | rf::IF | rf::DF | rf::kArithmetic;
        machine.gpr(Gpr::rbx) = kRounds;
    }

    void write_code(u64 at, std::initializer_list<u8> bytes)
    {
        machine.code(at, std::span(bytes.begin(), bytes.size()));
    }
    // l: mov al, 127; std; add al, 1; syscall; dec ebx; jnz l; vmcall
    void write_user()
    {
        write_code(kUser, {0xb0, 0x7f, 0xfd, 0x04, 1, 0x0f, 0x05, 0xff, 0xcb, 0x75, 0xf5, 0x0f, 0x01, 0xc1});
    }
    static constexpr u64 kBehindCall = kUser + 7;
    static constexpr u64 kUserFlags = rf::FIXED1 | rf::DF | rf::OF | rf::SF | rf::AF;

    ExitReason run_user()
    {
        machine.user_mode();
        machine.vmcs.rip = kUser;
        return machine.enter();
    }
    [[nodiscard]] u64 cs() const { return machine.vmcs.seg[static_cast<int>(spec::Seg::cs)].selector; }
    [[nodiscard]] u64 ss() const { return machine.vmcs.seg[static_cast<int>(spec::Seg::ss)].selector; }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Crossings, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Crossings, SystemCallsSaveAndRestore)
{
    write_user();
    // mov r8, rcx; mov r9, r11; pushfq; pop r12; mov r13d, cs; inc r10; sysretq
    write_code(kKernel, {0x49, 0x89, 0xc8, 0x4d, 0x89, 0xd9, 0x9c, 0x41, 0x5c, 0x41, 0x8c, 0xcd, 0x49, 0xff,
                         0xc2, 0x48, 0x0f, 0x07});
    machine.gpr(Gpr::r10) = 0;
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::r10), kRounds);
    EXPECT_EQ(machine.gpr(Gpr::r8), kBehindCall);
    EXPECT_EQ(machine.gpr(Gpr::rcx), kBehindCall);
    EXPECT_EQ(machine.gpr(Gpr::r9), kUserFlags);
    EXPECT_EQ(machine.gpr(Gpr::r12), rf::FIXED1);
    EXPECT_EQ(machine.gpr(Gpr::r13), GuestMachine::kCs);
    EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, 0x80u);
    EXPECT_EQ(cs(), GuestMachine::kUserCs);
    EXPECT_EQ(ss(), GuestMachine::kUserDs);
    EXPECT_TRUE(machine.vmcs.rflags & rf::DF);
}

// In one round of many, the kernel does what `in_round` says; r15 tells what kernel code has run.
class CrossingsChange : public Crossings {
  protected:
    // inc r10; cmp r10, 10; jne l; (in_round); l: pushfq; pop r12; sysretq. rcx and r11 are the kernel's to
    // keep.
    void write_kernel(std::initializer_list<u8> in_round)
    {
        std::vector<u8> code = {
            0x49, 0xff, 0xc2, 0x49, 0x83, 0xfa, 10, 0x75, static_cast<u8>(in_round.size())};
        code.insert(code.end(), in_round);
        code.insert(code.end(), {0x9c, 0x41, 0x5c, 0x48, 0x0f, 0x07});
        machine.code(kKernel, code);
        machine.gpr(Gpr::r10) = 0;
    }
    // mov r8, rcx; mov ecx, msr; xor edx, edx; mov eax, value; wrmsr; mov rcx, r8
    void write_msr_in_round(u32 msr, u32 value)
    {
        const auto b = [](u32 v, unsigned i) { return static_cast<u8>(v >> 8 * i); };
        write_kernel({0x49,        0x89, 0xc8, 0xb9, b(msr, 0),   b(msr, 1),   b(msr, 2),
                      b(msr, 3),   0x31, 0xd2, 0xb8, b(value, 0), b(value, 1), b(value, 2),
                      b(value, 3), 0x0f, 0x30, 0x4c, 0x89,        0xc1});
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, CrossingsChange,
                         testing::Values(cpu::EngineMode::step, cpu::EngineMode::full), [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(CrossingsChange, TheMaskOfTheFlags)
{
    write_user();
    write_msr_in_round(kFmask, rf::TF | rf::AC | rf::kArithmetic);
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::r10), kRounds);
    EXPECT_EQ(machine.gpr(Gpr::r12) & (rf::DF | rf::IF), rf::DF);
}

TEST_P(CrossingsChange, WhereSystemCallsGo)
{
    write_user();
    write_msr_in_round(kLstar, kOtherKernel);
    // inc r14; sysretq
    write_code(kOtherKernel, {0x49, 0xff, 0xc6, 0x48, 0x0f, 0x07});
    machine.gpr(Gpr::r14) = 0;
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
    EXPECT_EQ(machine.gpr(Gpr::r14), kRounds - 10);
}

TEST_P(CrossingsChange, WhetherThereAreSystemCalls)
{
    write_user();
    write_msr_in_round(kEfer, static_cast<u32>(machine.vmcs.efer & ~spec::efer::SCE));
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::UD)); // of SYSRET
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
}

TEST_P(CrossingsChange, ToReturnToNowhereIsRefusedInTheKernel)
{
    write_user();
    // mov rcx, 1 << 47
    write_kernel({0x48, 0xb9, 0, 0, 0, 0, 0, 0x80, 0, 0});
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::GP));
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
    EXPECT_EQ(machine.gpr(Gpr::rcx), bit(47));
    EXPECT_EQ(cs(), GuestMachine::kCs);
}

TEST_P(CrossingsChange, AReturnCanStartSingleSteps)
{
    write_user();
    // or r11, TF
    write_kernel({0x49, 0x81, 0xcb, 0, 1, 0, 0});
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::DB));
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), kBehindCall + 2); // behind DEC
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
}

TEST_P(Crossings, ALoopOfSystemCallsCanBeLeft)
{
    write_code(kUser, {0x0f, 0x05, 0x0f, 0x0b});                  // syscall; ud2
    write_code(kKernel, {0x48, 0x83, 0xe9, 2, 0x48, 0x0f, 0x07}); // sub rcx, 2; sysretq
    machine.vmcs.pin_based |= spec::pin::EXTERNAL_INTERRUPT_EXITING;
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        machine.lp.send_interrupt(0x30);
    });
    EXPECT_EQ(run_user(), ExitReason::EXTERNAL_INTERRUPT);
    sender.join();
    EXPECT_TRUE(machine.lp.acknowledge_interrupts());
}

TEST_P(Crossings, OfPrivilegedInstructionsAreRefusedInUserMode)
{
    for (const auto& [code, vector] :
         {std::pair{std::array<u8, 3>{0x48, 0x0f, 0x07}, spec::Vector::GP}, // sysretq
          std::pair{std::array<u8, 3>{0x0f, 0x01, 0xcb}, spec::Vector::UD}, // stac
          std::pair{std::array<u8, 3>{0x0f, 0x01, 0xca}, spec::Vector::UD}}) {
        machine.code(kUser, code);
        machine.lp.invept_all();
        ASSERT_EQ(run_user(), ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), static_cast<int>(vector));
    }
}

// SMAP: the stack and the tables that exceptions need are the supervisor's.
TEST_P(Crossings, AccessIsAllowedAndForbiddenAgain)
{
    machine.vmcs.cr4 |= spec::cr4::SMAP;
    for (const u64 page :
         {GuestMachine::kGdt, GuestMachine::kIdt, GuestMachine::kTss, GuestMachine::kStack - kPageSize})
        machine.put<u64>(GuestMachine::guest_pte(page), page | 3);
    machine.gpr(Gpr::rsi) = GuestMachine::kData;
    machine.gpr(Gpr::rcx) = kRounds;
    machine.gpr(Gpr::rdx) = 0;
    // l: stc; stac; mov al, [rsi]; clac; adc edx, 0; dec ecx; jnz l; mov al, [rsi]
    ASSERT_EQ(machine.run({0xf9, 0x0f, 0x01, 0xcb, 0x8a, 0x06, 0x0f, 0x01, 0xca, 0x83, 0xd2, 0, 0xff, 0xc9,
                           0x75, 0xf0, 0x8a, 0x06}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::PF));
    EXPECT_EQ(machine.gpr(Gpr::rcx), 0u);
    EXPECT_EQ(machine.gpr(Gpr::rdx), kRounds);
}

// The second STI of a block needs no look; its shadow is seen where the next instruction leaves the guest.
TEST_P(Crossings, TheShadowOfSti)
{
    for (const bool was_set : {false, true}) {
        machine.vmcs.rip = GuestMachine::kCode;
        machine.vmcs.rflags = rf::FIXED1;
        const u8 first = was_set ? 0x90 : 0xfa;
        // sti; nop; cli or nop; sti; vmcall
        ASSERT_EQ(machine.run({0xfb, 0x90, first, 0xfb}), ExitReason::VMCALL);
        EXPECT_EQ(machine.vmcs.interruptibility, was_set ? 0u : spec::interruptibility::STI);
        EXPECT_TRUE(machine.vmcs.rflags & rf::IF);
        machine.vmcs.interruptibility = 0;
        machine.lp.invept_all();
    }
}

TEST_P(Crossings, StiFindsWhatWasSentMeanwhile)
{
    const Hpa apic = machine.host->alloc_page().value();
    machine.vmcs.virtual_apic_page = apic.value();
    machine.vmcs.pin_based |= spec::pin::EXTERNAL_INTERRUPT_EXITING;
    machine.vmcs.proc_based |= spec::proc::TPR_SHADOW;
    machine.vmcs.proc_based2 |= spec::proc2::VIRTUALIZE_X2APIC | spec::proc2::VIRTUAL_INTERRUPT_DELIVERY |
                                spec::proc2::APIC_REGISTER_VIRTUALIZATION;
    machine.gpr(Gpr::rcx) = 0x83f; // SELF_IPI
    machine.gpr(Gpr::rax) = 0x61;
    machine.gpr(Gpr::rdx) = 0;
    // sti; nop; cli; wrmsr; inc ebx; sti; nop; ud2
    ASSERT_EQ(machine.run({0xfb, 0x90, 0xfa, 0x0f, 0x30, 0xff, 0xc3, 0xfb, 0x90, 0x0f, 0x0b}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x61);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), GuestMachine::kCode + 9); // behind what STI shadows
}

// A return that sets IF takes what came while it was clear.
TEST_P(CrossingsChange, AReturnFindsWhatWasSentMeanwhile)
{
    const Hpa apic = machine.host->alloc_page().value();
    machine.vmcs.virtual_apic_page = apic.value();
    machine.vmcs.proc_based |= spec::proc::TPR_SHADOW;
    machine.vmcs.proc_based2 |= spec::proc2::VIRTUALIZE_X2APIC | spec::proc2::VIRTUAL_INTERRUPT_DELIVERY |
                                spec::proc2::APIC_REGISTER_VIRTUALIZATION;
    machine.vmcs.rflags |= rf::IF;
    write_user();
    write_msr_in_round(0x83f, 0x61); // SELF_IPI
    ASSERT_EQ(run_user(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x61);
    EXPECT_EQ(machine.gpr(Gpr::r10), 10u);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), kBehindCall);
}

TEST_P(Crossings, PushedFlags)
{
    machine.vmcs.rflags = rf::FIXED1 | rf::IF | rf::ID;
    // mov al, 127; add al, 1; std; pushfq; cld; setc dl; pop rax
    for (int i = 0; i < 2; ++i) {
        machine.vmcs.rip = GuestMachine::kCode;
        machine.gpr(Gpr::rdx) = 1;
        ASSERT_EQ(machine.run({0xb0, 0x7f, 0x04, 1, 0xfd, 0x9c, 0xfc, 0x0f, 0x92, 0xc2, 0x58}),
                  ExitReason::VMCALL);
        EXPECT_EQ(machine.gpr(Gpr::rax), rf::FIXED1 | rf::IF | rf::ID | rf::DF | rf::OF | rf::SF | rf::AF);
        EXPECT_EQ(machine.gpr(Gpr::rdx), 0u);
    }
}

} // namespace
} // namespace seamless
