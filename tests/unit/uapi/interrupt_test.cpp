// SPDX-License-Identifier: Apache-2.0
// Interrupts of plain VMs with a split irqchip, through ioctls: messages, routes, irqfds, IPIs, NMIs, timers,
// and what each does to the next VM entry.
#include <gtest/gtest.h>

#include <cstring>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

#include "fakes/scripted_lp.h"
#include "platform/platform.h"
#include "spec/apic.h"
#include "spec/kvm_abi.h"
#include "uapi/device.h"

namespace seamless {
namespace {

using namespace spec::kvm;
namespace apic = spec::apic;
namespace intr = spec::intr_info;
using spec::ExitReason;

constexpr u64 kIf = spec::rflags::IF | spec::rflags::FIXED1;
constexpr u32 kX2apicMsrs = 0x800;

class Interrupts : public testing::Test {
  protected:
    Interrupts()
    {
        platform::Parameters p;
        p.make_lp = [](cpu::Package& package, unsigned id) {
            return std::make_unique<fakes::ScriptedLp>(package, id);
        };
        p.logical_processors = 4;
        p.memory_bytes = u64{2} << 30;
        p.tdx = false;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
        sys = device->open();
        vm = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
        EXPECT_EQ(enable(KVM_CAP_SPLIT_IRQCHIP, 24), 0);
        EXPECT_EQ(enable(KVM_CAP_X2APIC_API, 3), 0);
        vcpu = add_vcpu(0);
        run = static_cast<kvm_run*>(device->mmap(vcpu, kVcpuMmapSize));
    }
    long call(int fd, unsigned long request, const void* arg)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long call(int fd, unsigned long request, u64 arg = 0)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    long enable(u32 cap, u64 arg)
    {
        kvm_enable_cap c{};
        c.cap = cap;
        c.args[0] = arg;
        return call(vm, KVM_ENABLE_CAP, &c);
    }
    // With x2APIC in CPUID, its APIC in x2APIC mode and enabled.
    int add_vcpu(u64 id)
    {
        const int fd = static_cast<int>(call(vm, KVM_CREATE_VCPU, id));
        struct {
            kvm_cpuid2 header;
            kvm_cpuid_entry2 entry;
        } cpuid{};
        cpuid.header.nent = 1;
        cpuid.entry.function = 1;
        cpuid.entry.ecx = 1u << 21 | 1u << 24;
        EXPECT_EQ(call(fd, KVM_SET_CPUID2, &cpuid), 0);
        const u64 bsp = id == 0 ? apic::BASE_BSP : 0;
        EXPECT_EQ(set_msr(fd, 0x1b, apic::kPageBase | apic::BASE_ENABLE | apic::BASE_X2APIC | bsp), 1);
        EXPECT_EQ(set_msr(fd, x2apic(apic::SPIV), 0x1ff), 1);
        return fd;
    }
    static constexpr u32 x2apic(u32 offset) { return kX2apicMsrs + (offset >> 4); }
    long set_msr(int fd, u32 index, u64 data)
    {
        struct {
            kvm_msrs header;
            kvm_msr_entry entry;
        } msrs{};
        msrs.header.nmsrs = 1;
        msrs.entry = {.index = index, .reserved = 0, .data = data};
        return call(fd, KVM_SET_MSRS, &msrs);
    }
    void set_rflags(int fd, u64 rflags)
    {
        kvm_regs regs{};
        regs.rflags = rflags;
        regs.rip = 0x1000;
        ASSERT_EQ(call(fd, KVM_SET_REGS, &regs), 0);
    }
    long msi(u32 dest, u8 vector, u32 extra_data = 0)
    {
        kvm_msi m{};
        m.address_lo = 0xfee00000 | (dest & 0xff) << 12;
        m.address_hi = dest & 0xffffff00;
        m.data = vector | extra_data;
        return call(vm, KVM_SIGNAL_MSI, &m);
    }
    long route(u32 gsi, u32 dest, u32 data)
    {
        struct {
            kvm_irq_routing header;
            kvm_irq_routing_entry entry;
        } r{};
        r.header.nr = 1;
        r.entry.gsi = gsi;
        r.entry.type = KVM_IRQ_ROUTING_MSI;
        r.entry.u.msi = {.address_lo = 0xfee00000 | dest << 12, .address_hi = 0, .data = data, .devid = 0};
        return call(vm, KVM_SET_GSI_ROUTING, &r);
    }

    fakes::ScriptedLp& lp(unsigned id = 0)
    {
        return static_cast<fakes::ScriptedLp&>(platform->package().lp(id));
    }
    void exit(ExitReason reason, unsigned on = 0)
    {
        lp(on).then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(reason);
            v.exit_instruction_len = 1;
        });
    }
    void wrmsr(u32 index, u64 value, unsigned on = 0)
    {
        lp(on).then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            v.exit_reason = static_cast<u32>(ExitReason::MSR_WRITE);
            v.exit_instruction_len = 2;
            c[spec::Gpr::rcx] = index;
            c[spec::Gpr::rax] = static_cast<u32>(value);
            c[spec::Gpr::rdx] = value >> 32;
        });
    }
    // Ends a run: an exit to user space.
    void stop(unsigned on = 0) { exit(ExitReason::TRIPLE_FAULT, on); }
    u32 injected(std::size_t entry) { return lp().history.at(entry).vmcs.entry_intr_info; }
    static constexpr u32 external(u8 vector) { return intr::VALID | intr::EXTERNAL | vector; }
    u32 mp_state(int fd)
    {
        kvm_mp_state state{};
        EXPECT_EQ(call(fd, KVM_GET_MP_STATE, &state), 0);
        return state.mp_state;
    }
    template <typename Action>
    static std::thread later(Action action)
    {
        return std::thread([action] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            action();
        });
    }

    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
    int sys = -1, vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
};

TEST_F(Interrupts, WithoutAnIrqchipTheIoctlsAreRefused)
{
    const int plain = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
    kvm_msi m{};
    kvm_irq_routing r{};
    kvm_irq_level line{};
    kvm_irqfd fd{};
    EXPECT_EQ(call(plain, KVM_SIGNAL_MSI, &m), -EINVAL);
    EXPECT_EQ(call(plain, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    EXPECT_EQ(call(plain, KVM_IRQ_LINE, &line), -ENXIO);
    EXPECT_EQ(call(plain, KVM_IRQFD, &fd), -EAGAIN);
    EXPECT_EQ(call(plain, KVM_CREATE_IRQCHIP), -ENOTTY);
    EXPECT_EQ(call(vm, KVM_CREATE_IRQCHIP), -EEXIST); // it is split already
    const int cpu = static_cast<int>(call(plain, KVM_CREATE_VCPU, u64{0}));
    kvm_lapic_state lapic{};
    EXPECT_EQ(call(cpu, KVM_GET_LAPIC, &lapic), -EINVAL);
    EXPECT_EQ(call(cpu, KVM_SET_LAPIC, &lapic), -EINVAL);
    kvm_mp_state halted{KVM_MP_STATE_HALTED};
    EXPECT_EQ(call(cpu, KVM_SET_MP_STATE, &halted), -EINVAL);
    halted.mp_state = 9;
    EXPECT_EQ(call(vcpu, KVM_SET_MP_STATE, &halted), -EINVAL);
    EXPECT_EQ(call(sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_IRQ_ROUTING}), 4096);
}

TEST_F(Interrupts, AMessageIsInjectedAtTheNextEntry)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    EXPECT_EQ(msi(7, 0x41), -EPERM);   // nobody is there: KVM's -1
    EXPECT_EQ(msi(0, 0x41, 0x200), 0); // an SMI: addressed, not taken
    kvm_msi bad{};
    bad.flags = 2;
    EXPECT_EQ(call(vm, KVM_SIGNAL_MSI, &bad), -EINVAL);
    bad.flags = 0;
    bad.address_hi = 1; // reserved with 32-bit ids
    EXPECT_EQ(call(vm, KVM_SIGNAL_MSI, &bad), -EINVAL);
    wrmsr(x2apic(apic::EOI), 0);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN);
    EXPECT_EQ(injected(0), external(0x41));
    EXPECT_FALSE(injected(1) & intr::VALID);
}

TEST_F(Interrupts, AnApicThatIsOffTakesNothing)
{
    ASSERT_EQ(set_msr(vcpu, x2apic(apic::SPIV), 0xff), 1);
    EXPECT_EQ(msi(0, 0x41), 0);
}

TEST_F(Interrupts, AGuestThatCannotTakeItGetsAWindow)
{
    set_rflags(vcpu, spec::rflags::FIXED1);
    EXPECT_EQ(msi(0, 0x41), 1);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::INTERRUPT_WINDOW);
        v.rflags |= spec::rflags::IF;
        v.interruptibility = spec::interruptibility::STI; // the window opens after the next instruction
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::INTERRUPT_WINDOW);
        v.interruptibility = 0;
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN); // the windows were KVM's own
    for (const std::size_t entry : {0u, 1u}) {
        EXPECT_FALSE(injected(entry) & intr::VALID);
        EXPECT_TRUE(lp().history[entry].vmcs.proc_based & spec::proc::INTERRUPT_WINDOW_EXITING);
    }
    EXPECT_EQ(injected(2), external(0x41));
    EXPECT_FALSE(lp().history[2].vmcs.proc_based & spec::proc::INTERRUPT_WINDOW_EXITING);
}

TEST_F(Interrupts, AnInterruptThatDidNotArriveIsInjectedAgain)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
        v.idt_vectoring_info = external(0x41);
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(injected(1), external(0x41));
}

TEST_F(Interrupts, HaltWaitsForAnInterrupt)
{
    set_rflags(vcpu, kIf);
    exit(ExitReason::HLT);
    stop();
    std::thread sender = later([this] { EXPECT_EQ(msi(0, 0x55), 1); });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), external(0x55));
    EXPECT_EQ(mp_state(vcpu), KVM_MP_STATE_RUNNABLE);
}

TEST_F(Interrupts, HaltWithInterruptsOffWaitsForAnNmi)
{
    set_rflags(vcpu, spec::rflags::FIXED1);
    exit(ExitReason::HLT);
    stop();
    EXPECT_EQ(msi(0, 0x55), 1);
    std::thread sender = later([this] {
        EXPECT_EQ(mp_state(vcpu), KVM_MP_STATE_HALTED);
        EXPECT_EQ(call(vcpu, KVM_NMI), 0);
    });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), intr::VALID | intr::NMI | 2);
}

TEST_F(Interrupts, ASecondNmiWaitsForItsWindow)
{
    for (int i = 0; i < 3; ++i) // the third collapses into the second
        EXPECT_EQ(call(vcpu, KVM_NMI), 0);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::EXTERNAL_INTERRUPT);
        v.interruptibility = spec::interruptibility::NMI; // the handler runs
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) {
        v.exit_reason = static_cast<u32>(ExitReason::NMI_WINDOW);
        v.interruptibility = 0;
    });
    exit(ExitReason::EXTERNAL_INTERRUPT);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    const u32 nmi = intr::VALID | intr::NMI | 2;
    EXPECT_EQ(injected(0), nmi);
    EXPECT_FALSE(injected(1) & intr::VALID);
    EXPECT_TRUE(lp().history[1].vmcs.proc_based & spec::proc::NMI_WINDOW_EXITING);
    EXPECT_EQ(injected(2), nmi);
    EXPECT_FALSE(injected(3) & intr::VALID);
}

TEST_F(Interrupts, TaskPriorityGoesThroughCr8)
{
    set_rflags(vcpu, kIf);
    EXPECT_EQ(msi(0, 0x41), 1);
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cr8 = 4;
    ASSERT_EQ(call(vcpu, KVM_SET_SREGS, &sregs), 0);
    lp().then([](cpu::Vmcs& v, cpu::GuestContext& c) { // MOV CR8, RBX
        v.exit_reason = static_cast<u32>(ExitReason::CR_ACCESS);
        v.exit_qualification = 8 | 3 << 8;
        v.exit_instruction_len = 4;
        c[spec::Gpr::rbx] = 3;
    });
    lp().then([](cpu::Vmcs& v, cpu::GuestContext&) { // MOV RSI, CR8
        v.exit_reason = static_cast<u32>(ExitReason::CR_ACCESS);
        v.exit_qualification = 8 | 1 << 4 | 6 << 8;
        v.exit_instruction_len = 4;
    });
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_FALSE(injected(0) & intr::VALID); // held back
    EXPECT_EQ(injected(1), external(0x41));
    EXPECT_EQ(lp().history[2].gpr[static_cast<unsigned>(spec::Gpr::rsi)], 3u);
    EXPECT_EQ(run->cr8, 3u);
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

TEST_F(Interrupts, RoutesAreChecked)
{
    EXPECT_EQ(route(5, 0, 0x44), 0);
    EXPECT_EQ(route(4096, 0, 0x44), -EINVAL);
    struct {
        kvm_irq_routing header;
        kvm_irq_routing_entry entry[2];
    } r{};
    r.header.nr = 1;
    r.entry[0].type = KVM_IRQ_ROUTING_IRQCHIP; // no IOAPIC here
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.entry[0].type = KVM_IRQ_ROUTING_MSI;
    r.entry[0].flags = 2;
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.entry[0].flags = 0;
    r.entry[1].type = KVM_IRQ_ROUTING_MSI;
    r.header.nr = 2; // one GSI, two messages
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.header.nr = 4097;
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    r.header = {.nr = 1, .flags = 1};
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &r), -EINVAL);
    EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, u64{8}), -EFAULT);
    kvm_irq_level line{.irq = 5, .level = 1};
    EXPECT_EQ(call(vm, KVM_IRQ_LINE_STATUS, &line), 0);
    EXPECT_EQ(line.irq, 1u);
    line = {.irq = 5, .level = 0}; // a message has no falling edge
    EXPECT_EQ(call(vm, KVM_IRQ_LINE_STATUS, &line), 0);
    EXPECT_EQ(static_cast<int>(line.irq), -1);
}

TEST_F(Interrupts, AnIrqfdRaisesItsRoute)
{
    set_rflags(vcpu, kIf);
    ASSERT_EQ(route(30, 0, 0x46), 0);
    const int fd = eventfd(0, 0);
    kvm_irqfd args{};
    args.fd = static_cast<u32>(fd);
    args.gsi = 30;
    ASSERT_EQ(call(vm, KVM_IRQFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EBUSY);
    args.flags = KVM_IRQFD_FLAG_RESAMPLE;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    args.flags = 4;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    args.flags = 0;
    args.fd = 9999;
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EBADF);
    args.fd = static_cast<u32>(STDERR_FILENO);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), -EINVAL);
    exit(ExitReason::HLT);
    stop();
    std::thread sender = later([=] {
        const u64 one = 1;
        EXPECT_EQ(write(fd, &one, sizeof one), 8);
    });
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    sender.join();
    EXPECT_EQ(injected(1), external(0x46));
    args = {
        .fd = static_cast<u32>(fd), .gsi = 30, .flags = KVM_IRQFD_FLAG_DEASSIGN, .resamplefd = 0, .pad = {}};
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), 0);
    EXPECT_EQ(call(vm, KVM_IRQFD, &args), 0); // not there: no error, as in KVM
    close(fd);
}

TEST_F(Interrupts, TheEndOfALevelInterruptReachesTheVmmsIoapic)
{
    set_rflags(vcpu, kIf);
    ASSERT_EQ(route(4, 0, 0x47 | 0x8000), 0); // below the 24 pins, level triggered
    kvm_irq_level line{.irq = 4, .level = 1};
    ASSERT_EQ(call(vm, KVM_IRQ_LINE, &line), 0);
    wrmsr(x2apic(apic::EOI), 0);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(injected(0), external(0x47));
    ASSERT_EQ(run->exit_reason, KVM_EXIT_IOAPIC_EOI);
    EXPECT_EQ(run->eoi.vector, 0x47);
    EXPECT_EQ(msi(0, 0x48), 1); // an edge: nobody needs to know
    wrmsr(x2apic(apic::EOI), 0);
    stop();
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_EQ(run->exit_reason, KVM_EXIT_SHUTDOWN);
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

TEST_F(Interrupts, PendingEventsCanBeSavedAndRestored)
{
    kvm_vcpu_events events{};
    events.exception = {.injected = 1, .nr = 13, .has_error_code = 1, .pending = 0, .error_code = 0x10};
    events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
    events.nmi.pending = 1;
    events.nmi.masked = 1;
    events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING;
    kvm_sregs sregs{};
    ASSERT_EQ(call(vcpu, KVM_GET_SREGS, &sregs), 0);
    sregs.cr0 |= spec::cr0::PE; // real mode has no error codes
    ASSERT_EQ(call(vcpu, KVM_SET_SREGS, &sregs), 0);
    ASSERT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), 0);
    kvm_vcpu_events back{};
    ASSERT_EQ(call(vcpu, KVM_GET_VCPU_EVENTS, &back), 0);
    EXPECT_EQ(back.exception.injected, 1);
    EXPECT_EQ(back.exception.nr, 13);
    EXPECT_EQ(back.exception.error_code, 0x10u);
    EXPECT_EQ(back.interrupt.shadow, KVM_X86_SHADOW_INT_STI);
    EXPECT_EQ(back.nmi.pending, 1);
    EXPECT_EQ(back.nmi.masked, 1);
    events.exception.nr = 32;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events.exception.nr = 2; // NMI is no exception
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events = {};
    events.flags = 0x80;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
    events.flags = KVM_VCPUEVENT_VALID_SMM;
    events.smi.smm = 1;
    EXPECT_EQ(call(vcpu, KVM_SET_VCPU_EVENTS, &events), -EINVAL);
}

TEST_F(Interrupts, UserSpacesOwnInterruptPassesThroughLint0)
{
    set_rflags(vcpu, kIf);
    kvm_interrupt irq{.irq = 0x30};
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), 0);
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), -EEXIST);
    irq.irq = 256;
    EXPECT_EQ(call(vcpu, KVM_INTERRUPT, &irq), -EINVAL);
    wrmsr(x2apic(apic::LVT_LINT0), 0x700);
    stop();
    ASSERT_EQ(set_msr(vcpu, x2apic(apic::LVT_LINT0), apic::LVT_MASKED), 1);
    ASSERT_EQ(call(vcpu, KVM_RUN), 0);
    EXPECT_FALSE(injected(0) & intr::VALID);
    EXPECT_EQ(injected(1), external(0x30));
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
} // namespace seamless
