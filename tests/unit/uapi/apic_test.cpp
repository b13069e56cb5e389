// SPDX-License-Identifier: Apache-2.0
// The local APIC of plain VMs: INIT and SIPI, IPIs, its timer, its registers and its page.
#include <cstring>

#include "unit/uapi/interrupts.h"

namespace seamless::uapi_test {
namespace {

TEST_F(Interrupts, AnApicThatIsOffTakesNothing)
{
    ASSERT_EQ(set_msr(vcpu, x2apic(apic::SPIV), 0xff), 1);
    EXPECT_EQ(msi(0, 0x41), 0);
}

TEST_F(Interrupts, InitAndSipiStartAnotherProcessor)
{
    const int ap = add_vcpu(1);
    EXPECT_EQ(mp_state(ap), KVM_MP_STATE_UNINITIALIZED);
    wrmsr(x2apic(apic::ICR), u64{1} << 32 | 0xc500); // INIT, level, assert
    wrmsr(x2apic(apic::ICR), u64{1} << 32 | 0x8500); // de-assert: nothing
    wrmsr(x2apic(apic::ICR), u64{1} << 32 | 0x609a); // SIPI of page 9AH: reserved bit 13
    wrmsr(x2apic(apic::ICR), u64{1} << 32 | 0x469a);
    stop();
    long first = 0, second = 0;
    std::thread waiting([&] {
        first = call(ap, KVM_RUN); // UNINITIALIZED: ends when INIT comes
        stop(1);
        second = call(ap, KVM_RUN);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    waiting.join();
    EXPECT_EQ(first, -EAGAIN);
    EXPECT_EQ(second, 0);
    const cpu::Vmcs& started = lp(1).history.at(0).vmcs;
    EXPECT_EQ(started.rip, 0u);
    EXPECT_EQ(started.seg[static_cast<unsigned>(spec::Seg::cs)].base, 0x9a000u);
    EXPECT_EQ(started.seg[static_cast<unsigned>(spec::Seg::cs)].selector, 0x9a00u);
    EXPECT_EQ(started.cr0 & (spec::cr0::PE | spec::cr0::PG), 0u);
    EXPECT_EQ(injected(3), intr::VALID | intr::HARDWARE_EXCEPTION | 13u);
}

TEST_F(Interrupts, SavedSipiStartsAProcessorToo)
{
    const int ap = add_vcpu(1);
    kvm_vcpu_events events{};
    events.flags = KVM_VCPUEVENT_VALID_SIPI_VECTOR;
    events.sipi_vector = 0x20;
    ASSERT_EQ(call(ap, KVM_SET_VCPU_EVENTS, &events), 0);
    kvm_mp_state state{KVM_MP_STATE_SIPI_RECEIVED};
    ASSERT_EQ(call(ap, KVM_SET_MP_STATE, &state), 0);
    EXPECT_EQ(mp_state(ap), KVM_MP_STATE_INIT_RECEIVED);
    stop(1);
    ASSERT_EQ(call(ap, KVM_RUN), 0);
    EXPECT_EQ(lp(1).history.at(0).vmcs.seg[static_cast<unsigned>(spec::Seg::cs)].base, 0x20000u);
}

TEST_F(Interrupts, IpisReachOthersAndSelf)
{
    const int ap = add_vcpu(1);
    kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};
    ASSERT_EQ(call(ap, KVM_SET_MP_STATE, &runnable), 0);
    set_rflags(vcpu, kIf);
    set_rflags(ap, kIf);
    wrmsr(x2apic(apic::ICR), 0xc4061); // all others
    wrmsr(x2apic(apic::SELF_IPI), 0x62);
    wrmsr(x2apic(apic::ICR), u64{0x3} << 32 | 0x4963); // logical, lowest priority: both qualify
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_FALSE(injected(1) & intr::VALID);
    EXPECT_EQ(injected(2), external(0x62));
    wrmsr(x2apic(apic::EOI), 0, 1);
    stop(1);
    ASSERT_EQ(call(ap, KVM_RUN), 0);
    EXPECT_EQ(lp(1).history.at(0).vmcs.entry_intr_info, external(0x63)); // 63H % 2: the second
    EXPECT_EQ(lp(1).history.at(1).vmcs.entry_intr_info, external(0x61));
}

TEST_F(Interrupts, TheDeadlineTimerWakesAHaltedVcpu)
{
    set_rflags(vcpu, kIf);
    wrmsr(x2apic(apic::LVT_TIMER), 0x40051);
    lp().then([this](cpu::Vmcs& v, cpu::GuestContext& c) {
        const u64 deadline =
            platform->package().clock().tsc() + v.tsc_offset + platform->package().clock().tsc_hz() / 100;
        v.exit_reason = static_cast<u32>(ExitReason::MSR_WRITE);
        v.exit_instruction_len = 2;
        c[spec::Gpr::rcx] = 0x6e0;
        c[spec::Gpr::rax] = static_cast<u32>(deadline);
        c[spec::Gpr::rdx] = deadline >> 32;
    });
    exit(ExitReason::HLT);
    stop();
    const u64 start = platform->package().clock().monotonic_ns();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_GE(platform->package().clock().monotonic_ns() - start, 9'000'000u);
    EXPECT_EQ(injected(3), external(0x51));
}

TEST_F(Interrupts, LapicStateTravelsThroughIoctls)
{
    EXPECT_EQ(msi(0, 0x99), 1);
    kvm_lapic_state state{};
    ASSERT_EQ(call(vcpu, KVM_GET_LAPIC, &state), 0);
    EXPECT_EQ(state.regs[apic::IRR + 0x40 + 3], 1 << 1); // 99H: word 4, bit 25
    ASSERT_EQ(call(vcpu, KVM_SET_LAPIC, &state), 0);
    state.regs[apic::ID] = 5;
    EXPECT_EQ(call(vcpu, KVM_SET_LAPIC, &state), -EINVAL);
    EXPECT_EQ(call(vcpu, KVM_SET_LAPIC, u64{8}), -EFAULT);
}

TEST_F(Interrupts, TheXapicPageIsReachedThroughTheEmulator)
{
    alignas(4096) static u8 code[4096];
    constexpr u8 kProgram[] = {0xc7, 0x05, 0x80, 0x00, 0xe0, 0xfe,
                               0x30, 0,    0,    0,                 // MOV DWORD [FEE00080H], 30H
                               0x8b, 0x0d, 0x20, 0x00, 0xe0, 0xfe}; // MOV ECX, [FEE00020H]
    std::memcpy(code, kProgram, sizeof kProgram);
    kvm_userspace_memory_region region{.slot = 0,
                                       .flags = 0,
                                       .guest_phys_addr = 0x1000,
                                       .memory_size = sizeof code,
                                       .userspace_addr = reinterpret_cast<u64>(code)};
    ASSERT_EQ(call(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    const int ap = add_vcpu(1);
    ASSERT_EQ(set_msr(ap, 0x1b, apic::kPageBase | apic::BASE_ENABLE), 1);
    kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};
    ASSERT_EQ(call(ap, KVM_SET_MP_STATE, &runnable), 0);
    kvm_sregs sregs{};
    ASSERT_EQ(call(ap, KVM_GET_SREGS, &sregs), 0);
    sregs.cr0 |= spec::cr0::PE;
    for (kvm_segment* s : {&sregs.cs, &sregs.ds, &sregs.es, &sregs.ss})
        *s = {.base = 0,
              .limit = ~0u,
              .selector = 8,
              .type = 3,
              .present = 1,
              .dpl = 0,
              .db = 1,
              .s = 1,
              .g = 1};
    sregs.cs.type = 11;
    ASSERT_EQ(call(ap, KVM_SET_SREGS, &sregs), 0);
    set_rflags(ap, spec::rflags::FIXED1);
    for (const u32 offset : {apic::TPR, apic::ID})
        lp(1).then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason =
                static_cast<u32>(offset == apic::TPR ? ExitReason::EPT_VIOLATION : ExitReason::EPT_MISCONFIG);
            v.exit_qualification = spec::ept::qual::WRITE;
            v.guest_physical_address = apic::kPageBase + offset;
        });
    stop(1);
    auto* ap_run = static_cast<kvm_run*>(device->mmap(ap, kVcpuMmapSize));
    ASSERT_EQ(call(ap, KVM_RUN), 0);
    EXPECT_EQ(ap_run->exit_reason, KVM_EXIT_SHUTDOWN); // no exit for the APIC's page
    const auto& last = lp(1).history.back();
    EXPECT_EQ(last.vmcs.rip, 0x1000 + sizeof kProgram);
    EXPECT_EQ(last.gpr[static_cast<unsigned>(spec::Gpr::rcx)], 0x01000000u); // the 8-bit id
    EXPECT_EQ(ap_run->cr8, 3u);
}

} // namespace
} // namespace seamless::uapi_test
