// SPDX-License-Identifier: Apache-2.0
// Guests that are stopped, looked at, changed, stepped and let go, in both engine modes, without KVM.
#include "platform/inspector.h"

#include <gtest/gtest.h>
#include <thread>

#include "fakes/guest_machine.h"

namespace seamless::platform {
namespace {

using cpu::EngineMode;
using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
using trace::StopReason;
using trace::VcpuStop;

constexpr u64 kCode = GuestMachine::kCode, kData = GuestMachine::kData;
constexpr unsigned kRax = static_cast<unsigned>(Gpr::rax), kRcx = static_cast<unsigned>(Gpr::rcx);

class InspectorTest : public testing::TestWithParam<EngineMode> {
  protected:
    void start(std::initializer_list<u8> bytes)
    {
        machine.code(kCode, std::span(bytes.begin(), bytes.size()));
        constexpr u8 kVmcall[] = {0x0f, 0x01, 0xc1};
        machine.code(kCode + bytes.size(), kVmcall);
        machine.vmcs.rip = kCode;
        end = kCode + bytes.size();
        enter();
    }
    void enter()
    {
        thread = std::thread([this] { exit = machine.enter(); });
        while (inspector.vcpus().empty())
            std::this_thread::yield();
    }
    std::optional<VcpuStop> wait()
    {
        for (unsigned i = 0; i < 20000; ++i) {
            if (const auto stop = inspector.take_stop())
                return stop;
            std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
        return {};
    }
    std::optional<VcpuStop> go(bool step = false)
    {
        const trace::Resume action{.vcpu = 0, .step = step};
        inspector.resume({&action, 1});
        return wait();
    }
    // To the VMCALL at the end.
    ExitReason finish()
    {
        inspector.set_points({}, {});
        const trace::Resume action{};
        inspector.resume({&action, 1});
        thread.join();
        return exit;
    }
    u64 rip() { return inspector.registers(0)->rip; }
    u64 rax() { return inspector.registers(0)->gpr[kRax]; }
    void break_at(std::initializer_list<u64> at) { inspector.set_points({at.begin(), at.size()}, {}); }

    Inspector inspector{true};
    GuestMachine machine{GetParam(), &inspector};
    std::thread thread;
    ExitReason exit{};
    u64 end = 0;
};

INSTANTIATE_TEST_SUITE_P(Modes, InspectorTest, testing::Values(EngineMode::full, EngineMode::step));

TEST_P(InspectorTest, AGuestWaitsBeforeItsFirstInstructionAndTakesRegisters)
{
    start({0x48, 0xff, 0xc0}); // inc rax
    auto registers = *inspector.registers(0);
    EXPECT_EQ(registers.rip, kCode);
    EXPECT_EQ(registers.cr3, GuestMachine::kPml4);
    registers.gpr[kRax] = 41;
    registers.vector.ymm_high[0] = 9;
    EXPECT_TRUE(inspector.set_registers(0, registers));
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 42u);
}

TEST_P(InspectorTest, RegistersThatChangeTheModeAreRefused)
{
    start({0x90});
    const auto registers = *inspector.registers(0);
    const auto refused = [&](const auto& change) {
        auto other = registers;
        change(other);
        return !inspector.set_registers(0, other);
    };
    EXPECT_TRUE(refused([](auto& r) { r.cr0 ^= spec::cr0::PG; }));
    EXPECT_TRUE(refused([](auto& r) { r.efer = 0; }));
    EXPECT_TRUE(refused([](auto& r) { r.rflags = 0; }));
    EXPECT_TRUE(refused([](auto& r) { r.rflags |= spec::rflags::VM; }));
    EXPECT_TRUE(refused([](auto& r) { r.seg[1].ar = 0; }));
    EXPECT_TRUE(refused([](auto& r) { r.vector.legacy[27] = 0xff; })) << "MXCSR";
    EXPECT_FALSE(refused([](auto& r) { r.rflags |= spec::rflags::CF; }));
    EXPECT_FALSE(inspector.set_registers(7, registers));
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, ABreakpointStopsEachTimeBeforeItsInstruction)
{
    start({0x48, 0xff, 0xc0, // loop: inc rax
           0x48, 0xff, 0xc9, // dec rcx
           0x75, 0xf8});     // jnz loop
    auto registers = *inspector.registers(0);
    registers.gpr[kRcx] = 3;
    EXPECT_TRUE(inspector.set_registers(0, registers));
    for (u64 turn = 1; turn <= 3; ++turn) {
        break_at({kCode + 3});
        const auto stop = go();
        ASSERT_TRUE(stop);
        EXPECT_EQ(stop->reason, StopReason::breakpoint);
        EXPECT_EQ(stop->address, kCode + 3);
        EXPECT_EQ(rip(), kCode + 3);
        EXPECT_EQ(rax(), turn);
        break_at({});
        EXPECT_EQ(go(true)->reason, StopReason::stepped);
        EXPECT_EQ(rip(), kCode + 6);
    }
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 3u);
}

TEST_P(InspectorTest, ABreakpointIsFoundInCodeThatRanWithoutItAndForgottenAgain)
{
    start({0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0, 0xf4}); // inc rax; inc rax; hlt
    for (u64 round = 0; round < 6; ++round) {
        const bool set = round % 3 == 1;
        machine.vmcs.rip = kCode;
        if (round > 0) {
            inspector.stop(); // the breakpoint must be there before the guest runs
            enter();
        }
        if (set)
            break_at({kCode + 3});
        const trace::Resume action{};
        inspector.resume({&action, 1});
        if (set) {
            ASSERT_TRUE(wait());
            EXPECT_EQ(rax(), 2 * round + 1);
            break_at({});
            inspector.resume({&action, 1});
        }
        thread.join();
        EXPECT_EQ(exit, ExitReason::HLT);
        EXPECT_EQ(machine.gpr(Gpr::rax), 2 * round + 2);
        machine.vmcs.activity = spec::Activity::active;
    }
    thread = std::thread([] {});
    thread.join();
}

TEST_P(InspectorTest, FlagsAreExactAtABreakpoint)
{
    start({0x48, 0x39, 0xc0,                               // cmp rax, rax
           0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x10, 0x00, // mov rbx, [kData]
           0x48, 0x31, 0xd2});                             // xor rdx, rdx: writes the flags again
    break_at({kCode + 11});
    ASSERT_TRUE(go());
    EXPECT_TRUE(inspector.registers(0)->rflags & spec::rflags::ZF);
    EXPECT_TRUE(inspector.registers(0)->rflags & spec::rflags::PF);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AStepEntersTheHandlerOfAnException)
{
    start({0x0f, 0x0b}); // ud2
    EXPECT_EQ(go(true)->reason, StopReason::stepped);
    EXPECT_EQ(rip(), GuestMachine::kHandlers + 16 * 6);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AStepEntersTheHandlerOfAFaultingAccess)
{
    machine.put<u64>(GuestMachine::guest_pte(kData), 0);
    machine.code(GuestMachine::kHandlers + 16 * 14, std::array<u8, 4>{0x90, 0x0f, 0x01, 0xc1}); // nop, vmcall
    start({0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x10, 0x00}); // mov rax, [kData]
    for (u64 round = 0; round < 2; ++round) {                // the second time the handler's code is known
        EXPECT_EQ(go(true)->reason, StopReason::stepped);
        EXPECT_EQ(rip(), GuestMachine::kHandlers + 16 * 14);
        EXPECT_EQ(go(true)->reason, StopReason::stepped);
        EXPECT_EQ(rip(), GuestMachine::kHandlers + 16 * 14 + 1);
        auto registers = *inspector.registers(0);
        registers.rip = kCode;
        EXPECT_TRUE(inspector.set_registers(0, registers));
    }
    machine.put<u64>(GuestMachine::guest_pte(kData), kData | 0x63);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rip, end);
}

TEST_P(InspectorTest, AStepOverAnExitEndsWhenTheHostHasDoneIt)
{
    start({0x0f, 0xa2, 0x90}); // cpuid, which exits; nop
    const trace::Resume action{.vcpu = 0, .step = true};
    inspector.resume({&action, 1});
    thread.join();
    EXPECT_EQ(exit, ExitReason::CPUID);
    EXPECT_EQ(inspector.registers(0)->rip, kCode) << "seen while it is outside";
    EXPECT_FALSE(inspector.set_registers(0, *inspector.registers(0)));
    machine.vmcs.rip += 2;
    enter();
    const auto stop = wait();
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->reason, StopReason::stepped);
    EXPECT_EQ(rip(), kCode + 2);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AnEventThatWaitsIsAStepOfItsOwn)
{
    machine.vmcs.entry_intr_info = spec::intr_info::VALID | spec::intr_info::EXTERNAL | 0x40;
    start({0x90});
    EXPECT_EQ(go(true)->reason, StopReason::stepped);
    EXPECT_EQ(rip(), GuestMachine::kHandlers + 16 * 0x40);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AWatchpointStopsBehindTheAccess)
{
    start({0x48, 0x89, 0x04, 0x25, 0x08, 0x00, 0x10, 0x00,   // mov [kData + 8], rax: beside it
           0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x10, 0x00,   // mov rbx, [kData]: reads
           0xc6, 0x04, 0x25, 0x07, 0x00, 0x10, 0x00, 0x05}); // mov byte [kData + 7], 5
    const trace::Watchpoint writes{.start = kData, .bytes = 8, .writes = true};
    inspector.set_points({}, {&writes, 1});
    auto stop = go();
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->reason, StopReason::watchpoint);
    EXPECT_EQ(stop->address, kData + 7);
    EXPECT_EQ(rip(), end);
    EXPECT_EQ(machine.get<u8>(kData + 7), 5);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AReadIsWatchedOnlyIfItCompletes)
{
    const u64 missing = 0x200000; // mapped by the guest, not by EPT
    machine.set_entry(Gpa(missing), spec::ept::SUPPRESS_VE);
    start({0x48, 0x8b, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00});
    const trace::Watchpoint reads{.start = missing, .bytes = 8, .reads = true};
    inspector.set_points({}, {&reads, 1});
    const trace::Resume action{};
    inspector.resume({&action, 1});
    thread.join();
    EXPECT_EQ(exit, ExitReason::EPT_VIOLATION);
    EXPECT_FALSE(inspector.take_stop());
    machine.map(Gpa(missing), machine.memory + missing, spec::ept::RWX);
    machine.lp.invept_all();
    enter();
    const auto stop = wait();
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->address, missing);
    EXPECT_EQ(rip(), end);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AGuestThatSpinsStopsWhenAsked)
{
    start({0x48, 0xff, 0xc0, 0xeb, 0xfb}); // inc rax; jmp back
    const trace::Resume action{};
    inspector.resume({&action, 1});
    u64 turns = 0;
    while (turns == 0) { // it may be stopped before its first one
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        inspector.stop();
        turns = rax();
        if (turns == 0)
            inspector.resume({&action, 1});
    }
    EXPECT_TRUE(inspector.vcpus()[0].stopped);
    EXPECT_FALSE(inspector.take_stop()) << "it did not stop by itself";
    auto registers = *inspector.registers(0);
    EXPECT_GT(registers.gpr[kRax], 0u);
    registers.rip = end;
    EXPECT_TRUE(inspector.set_registers(0, registers));
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, AnInterruptThatComesWithTheStopIsNotLost)
{
    start({0xeb, 0xfe}); // jmp to itself
    for (unsigned round = 0; round < 50; ++round) {
        const trace::Resume action{};
        inspector.resume({&action, 1});
        std::thread other([this] { machine.lp.send_interrupt(0xf0); });
        inspector.stop();
        other.join();
        inspector.resume({&action, 1});
        thread.join(); // or this waits for ever
        EXPECT_EQ(exit, ExitReason::EXTERNAL_INTERRUPT);
        EXPECT_TRUE(machine.lp.acknowledge_interrupts());
        inspector.stop();
        enter();
    }
    machine.code(kCode, std::array<u8, 3>{0x0f, 0x01, 0xc1});
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, TheHostGetsAGuestThatStandsStillWithItsEventIntact)
{
    machine.vmcs.entry_intr_info = spec::intr_info::VALID | spec::intr_info::EXTERNAL | 0x40;
    start({0x90});
    machine.lp.send_interrupt(0xf0);
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    EXPECT_TRUE(inspector.vcpus()[0].stopped) << "nobody but the host wants it, which can wait";
    inspector.signal_arrived();
    thread.join();
    EXPECT_EQ(exit, ExitReason::EXTERNAL_INTERRUPT);
    EXPECT_EQ(machine.vmcs.exit_intr_info & 0xff, 0xf0u);
    EXPECT_EQ(machine.vmcs.rip, kCode);
    EXPECT_EQ(machine.vmcs.idt_vectoring_info, spec::intr_info::VALID | spec::intr_info::EXTERNAL | 0x40);
    EXPECT_TRUE(machine.lp.acknowledge_interrupts());
    machine.vmcs.entry_intr_info = machine.vmcs.idt_vectoring_info;
    enter();
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x40);
}

TEST_P(InspectorTest, CodeThatAToolWritesIsExecuted)
{
    start({0xb8, 0x01, 0x00, 0x00, 0x00, 0xeb, 0xf9}); // mov eax, 1; jmp back
    break_at({kCode + 5});
    ASSERT_TRUE(go());
    EXPECT_EQ(rax(), 1u);
    const u8 two = 2;
    EXPECT_EQ(inspector.write(0, Gva(kCode + 1), {&two, 1}), 1u);
    const u8 vmcall[] = {0x0f, 0x01, 0xc1};
    EXPECT_EQ(inspector.write(0, Gpa(kCode + 5), vmcall), 3u);
    auto registers = *inspector.registers(0);
    registers.rip = kCode;
    EXPECT_TRUE(inspector.set_registers(0, registers));
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 2u);
}

TEST_P(InspectorTest, WalksShowEveryEntryAndChangeNone)
{
    start({0x90});
    const u64 pte = machine.get<u64>(GuestMachine::guest_pte(kData));
    const trace::Walk walk = inspector.walk(0, Gva(kData + 5));
    ASSERT_EQ(walk.steps.size(), 8u);
    EXPECT_EQ(walk.steps[3].entry, pte);
    EXPECT_EQ(walk.steps[3].address, GuestMachine::guest_pte(kData));
    EXPECT_EQ(walk.steps[4].table, trace::WalkStep::Table::plain_ept);
    EXPECT_EQ(*walk.gpa, kData + 5);
    EXPECT_EQ(*walk.host, (machine.memory + (kData + 5)).value());
    EXPECT_EQ(machine.get<u64>(GuestMachine::guest_pte(kData)), pte) << "no accessed flag";
    machine.put<u64>(GuestMachine::guest_pte(kData), 0);
    EXPECT_FALSE(inspector.walk(0, Gva(kData)).gpa);
    EXPECT_EQ(inspector.walk(0, Gva(kData)).steps.size(), 4u);
    u8 byte = 0;
    EXPECT_EQ(inspector.read(0, Gva(kData), {&byte, 1}), 0u);
    EXPECT_EQ(inspector.read(0, Gpa(kData), {&byte, 1}), 1u);
    machine.set_entry(Gpa(kData), spec::ept::SUPPRESS_VE);
    const trace::Walk gone = inspector.walk(0, Gpa(kData));
    EXPECT_EQ(gone.steps.back().entry, spec::ept::SUPPRESS_VE);
    EXPECT_FALSE(gone.host);
    mem::store<u64>(machine.entry_at(Gpa(kData)), 0x7ffffffff000 | spec::ept::RWX); // where nothing is
    EXPECT_EQ(inspector.read(0, Gpa(kData), {&byte, 1}), 0u);
    EXPECT_EQ(finish(), ExitReason::VMCALL);
}

TEST_P(InspectorTest, WhatIsForgottenIsNoMoreToBeSeen)
{
    start({0x90});
    EXPECT_EQ(finish(), ExitReason::VMCALL);
    EXPECT_TRUE(inspector.registers(0));
    inspector.forget_vcpus();
    EXPECT_TRUE(inspector.vcpus().empty());
    EXPECT_FALSE(inspector.registers(0));
    EXPECT_TRUE(inspector.walk(0, Gva(0)).steps.empty());
}

} // namespace
} // namespace seamless::platform
