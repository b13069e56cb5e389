// SPDX-License-Identifier: Apache-2.0
// Interrupts: window exits, injection, shadows, the virtual APIC, posted interrupts, the host's own.
#include <chrono>
#include <gtest/gtest.h>
#include <thread>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;

class Interrupts : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    static constexpr u8 kNotification = 0xf2;
    static constexpr u8 kLoop[] = {0xeb, 0xfe}; // jmp .

    // A guest with an x2APIC that the processor virtualizes, as the TDX module sets it up.
    void virtual_apic()
    {
        apic = machine.host->alloc_page().value();
        descriptor = machine.host->alloc_page().value();
        const Hpa bitmap = machine.host->alloc_page().value(); // no MSR exits
        machine.vmcs.virtual_apic_page = apic.value();
        machine.vmcs.posted_intr_desc = descriptor.value();
        machine.vmcs.posted_intr_nv = kNotification;
        machine.vmcs.msr_bitmap = bitmap.value();
        machine.vmcs.pin_based |= spec::pin::POSTED_INTERRUPTS | spec::pin::EXTERNAL_INTERRUPT_EXITING;
        machine.vmcs.proc_based |= spec::proc::TPR_SHADOW | spec::proc::MSR_BITMAPS;
        machine.vmcs.proc_based2 |= spec::proc2::VIRTUALIZE_X2APIC | spec::proc2::VIRTUAL_INTERRUPT_DELIVERY |
                                    spec::proc2::APIC_REGISTER_VIRTUALIZATION;
    }
    void post(u8 vector)
    {
        auto* words = mem::host_ptr<u64>(descriptor);
        __atomic_fetch_or(&words[vector / 64], bit(vector % 64), __ATOMIC_SEQ_CST);
        __atomic_fetch_or(&words[4], u64{1}, __ATOMIC_SEQ_CST);
        machine.lp.send_interrupt(kNotification);
    }
    u32 apic_reg(unsigned offset) { return *mem::host_ptr<u32>(apic + offset); }

    GuestMachine machine{GetParam()};
    Hpa apic;
    Hpa descriptor;
};
INSTANTIATE_TEST_SUITE_P(Modes, Interrupts, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

// IRET with a frame of our own: RIP, CS, RFLAGS, RSP, SS.
TEST_P(Interrupts, AnIretUnblocksNmisEvenIfItFaults)
{
    constexpr u64 kFrame = GuestMachine::kStack - 0x100, kBadCs = 0x78, kMissing = GuestMachine::kMemory;
    constexpr u64 kBehind = GuestMachine::kCode + 2;
    const auto run = [&](u64 cs, u64 rsp) {
        const u64 frame[] = {kBehind, cs, 2, GuestMachine::kStack, GuestMachine::kDs};
        for (unsigned i = 0; i < 5; ++i)
            machine.put<u64>(kFrame + 8 * i, frame[i]);
        machine.vmcs.rsp = rsp;
        machine.vmcs.interruptibility = spec::interruptibility::NMI;
        return machine.run({0x48, 0xcf});
    };
    EXPECT_EQ(run(GuestMachine::kCs, kFrame), ExitReason::VMCALL);
    EXPECT_EQ(machine.vmcs.rip, kBehind);
    EXPECT_EQ(machine.vmcs.interruptibility, 0u);
    EXPECT_EQ(run(kBadCs, kFrame), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(spec::Vector::GP));
    EXPECT_EQ(machine.vmcs.interruptibility, 0u);
    machine.put<u64>(GuestMachine::guest_pte(kFrame - kPageSize), kMissing | 7); // no EPT entry behind it
    machine.lp.invept_all();
    EXPECT_EQ(run(GuestMachine::kCs, kFrame - kPageSize), ExitReason::EPT_VIOLATION);
    EXPECT_EQ(machine.vmcs.interruptibility, spec::interruptibility::NMI) << "it will be executed again";
}

TEST_P(Interrupts, InjectionGoesThroughTheIdt)
{
    machine.vmcs.entry_intr_info = spec::intr_info::VALID | spec::intr_info::EXTERNAL | 0x41;
    EXPECT_EQ(machine.run({0x90}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x41);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), GuestMachine::kCode);
    EXPECT_EQ(machine.vmcs.entry_intr_info, 0u);
}

TEST_P(Interrupts, TheWindowOpensBehindTheShadowOfSti)
{
    machine.vmcs.proc_based |= spec::proc::INTERRUPT_WINDOW_EXITING;
    // nop; sti; nop; jmp .
    EXPECT_EQ(machine.run({0x90, 0xfb, 0x90, 0xeb, 0xfe}), ExitReason::INTERRUPT_WINDOW);
    EXPECT_GE(machine.vmcs.rip, GuestMachine::kCode + 3);
    EXPECT_TRUE(machine.vmcs.rflags & spec::rflags::IF);
}

TEST_P(Interrupts, OneOfTheHostEndsALoop)
{
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        machine.lp.send_interrupt(0x30);
    });
    EXPECT_EQ(machine.run(kLoop), ExitReason::EXTERNAL_INTERRUPT);
    sender.join();
    EXPECT_EQ(machine.vmcs.exit_intr_info, spec::intr_info::VALID | 0x30);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode);
    EXPECT_EQ(machine.enter(), ExitReason::EXTERNAL_INTERRUPT); // until the host acknowledges
    EXPECT_TRUE(machine.lp.acknowledge_interrupts());
    EXPECT_FALSE(machine.lp.acknowledge_interrupts());
}

TEST_P(Interrupts, PostedOnesReachARunningGuestWithoutAnExit)
{
    virtual_apic();
    machine.vmcs.rflags |= spec::rflags::IF;
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        post(0x51);
    });
    EXPECT_EQ(machine.run(kLoop), ExitReason::VMCALL); // in the handler
    sender.join();
    EXPECT_EQ(machine.handled_vector(), 0x51);
    EXPECT_EQ(apic_reg(0x100 + 0x51 / 32 * 16), 1u << (0x51 % 32)); // in service
    EXPECT_EQ(mem::host_ptr<u64>(descriptor)[4], 0u);
}

TEST_P(Interrupts, PostedOnesWaitForTheInterruptFlag)
{
    virtual_apic();
    post(0x51);
    EXPECT_EQ(machine.run({0x90}), ExitReason::VMCALL); // IF is 0
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.vmcs.guest_intr_status & 0xff, 0x51); // requested
    EXPECT_EQ(machine.run({0xfb, 0x90, 0xeb, 0xfe}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x51);
}

TEST_P(Interrupts, PrioritiesAndEndOfInterrupt)
{
    virtual_apic();
    machine.vmcs.rflags |= spec::rflags::IF;
    post(0x51);
    EXPECT_EQ(machine.run(kLoop), ExitReason::VMCALL);
    // A lower class waits, also with interrupts on, until EOI: mov ecx, 0x80b; xor eax,eax; xor edx,edx; sti;
    // nop; wrmsr
    post(0x42);
    EXPECT_EQ(machine.run({0xfb, 0x90, 0x90}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.run({0xb9, 0x0b, 0x08, 0, 0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, 0xeb, 0xfe}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x42);
    EXPECT_EQ(machine.vmcs.guest_intr_status >> 8, 0x42);
}

TEST_P(Interrupts, TheTaskPriorityHoldsThemBack)
{
    virtual_apic();
    machine.vmcs.rflags |= spec::rflags::IF;
    machine.gpr(Gpr::rax) = 6;
    post(0x51);
    machine.vmcs.rflags &= ~spec::rflags::IF;
    // mov cr8, rax; sti; nop; nop
    EXPECT_EQ(machine.run({0x44, 0x0f, 0x22, 0xc0, 0xfb, 0x90, 0x90}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(apic_reg(0x80), 0x60u);
    machine.gpr(Gpr::rax) = 0;
    EXPECT_EQ(machine.run({0x44, 0x0f, 0x22, 0xc0, 0xeb, 0xfe}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x51);
}

TEST_P(Interrupts, SelfIpi)
{
    virtual_apic();
    machine.vmcs.rflags |= spec::rflags::IF;
    // mov ecx, 0x83f; mov eax, 0x61; xor edx, edx; wrmsr; jmp .
    EXPECT_EQ(machine.run({0xb9, 0x3f, 0x08, 0, 0, 0xb8, 0x61, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xeb, 0xfe}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 0x61);
}

TEST_P(Interrupts, ALoopOfTranslatedBlocksNoticesThem)
{
    virtual_apic();
    machine.vmcs.rflags |= spec::rflags::IF;
    std::thread sender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        post(0x71);
    });
    // l: call f; jmp l; f: inc rax; ret
    EXPECT_EQ(machine.run({0xe8, 2, 0, 0, 0, 0xeb, 0xf9, 0x48, 0xff, 0xc0, 0xc3}), ExitReason::VMCALL);
    sender.join();
    EXPECT_EQ(machine.handled_vector(), 0x71);
}

} // namespace
} // namespace seamless
