// SPDX-License-Identifier: Apache-2.0
// Many senders, several running vCPUs: no interrupt gets lost and no sleep is slept through. Meant for
// ThreadSanitizer.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "mem/host_memory.h"
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

constexpr unsigned kVcpus = 3, kSenders = 3, kRounds = 300;
constexpr u8 kFirstVector = 0x40, kIpiVector = 0x90, kStopVector = 0xe0;

// What the guests of all processors saw.
struct Seen {
    std::array<std::array<std::atomic<u32>, 256>, kVcpus> taken{};
};

// A processor whose guest halts, takes interrupts, ends each with an EOI, passes some on by IPI, and shuts
// down when it is told to.
class HaltingLp final : public cpu::LogicalProcessor {
  public:
    HaltingLp(cpu::Package& package, unsigned lp_id, Seen& seen)
        : LogicalProcessor(package, lp_id), seen_(seen)
    {}

    void vm_enter(cpu::Vmcs& v, cpu::GuestContext& c) override
    {
        v.idt_vectoring_info = 0;
        v.exit_instruction_len = 1;
        const unsigned vcpu = v.vpid - 1u;
        const u32 info = std::exchange(v.entry_intr_info, 0);
        if (!(info & intr::VALID)) {
            v.exit_reason = static_cast<u32>(ExitReason::HLT);
            return;
        }
        const u8 vector = intr::vector(info);
        seen_.taken[vcpu][vector].fetch_add(1);
        if (vector == kStopVector) {
            v.exit_reason = static_cast<u32>(ExitReason::TRIPLE_FAULT);
            return;
        }
        v.exit_reason = static_cast<u32>(ExitReason::MSR_WRITE);
        c[spec::Gpr::rcx] = 0x80b;
        c[spec::Gpr::rax] = c[spec::Gpr::rdx] = 0;
    }
    void invept_single(u64) override {}
    void invept_all() override {}
    void invvpid(u16) override {}
    void code_may_have_changed() override {}
    void send_interrupt(u8) override { pending_.store(true); }
    bool acknowledge_interrupts() override { return pending_.exchange(false); }
    [[nodiscard]] Counters counters() const override { return {}; }

  private:
    Seen& seen_;
    std::atomic<bool> pending_{false};
};

class InterruptStress : public testing::Test {
  protected:
    InterruptStress()
    {
        platform::Parameters p;
        p.make_lp = [this](cpu::Package& package, unsigned id) {
            return std::make_unique<HaltingLp>(package, id, seen);
        };
        p.logical_processors = 2; // fewer than vCPUs: they take turns
        p.memory_bytes = u64{1} << 30;
        p.tdx = false;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
        const int sys = device->open();
        vm = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_SPLIT_IRQCHIP;
        EXPECT_EQ(call(vm, KVM_ENABLE_CAP, &cap), 0);
        for (u64 id = 0; id < kVcpus; ++id)
            add_vcpu(id);
    }
    template <typename Arg>
    long call(int fd, unsigned long request, Arg* arg)
    {
        return device->ioctl(fd, request, arg);
    }
    long call(int fd, unsigned long request, u64 arg)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    void set_msr(int fd, u32 index, u64 data)
    {
        struct {
            kvm_msrs header{.nmsrs = 1, .pad = 0};
            kvm_msr_entry entry{};
        } msrs;
        msrs.entry = {.index = index, .reserved = 0, .data = data};
        EXPECT_EQ(call(fd, KVM_SET_MSRS, &msrs), 1);
    }
    void add_vcpu(u64 id)
    {
        const int fd = static_cast<int>(call(vm, KVM_CREATE_VCPU, id));
        vcpus.push_back(fd);
        set_msr(fd, 0x1b,
                apic::kPageBase | apic::BASE_ENABLE | apic::BASE_X2APIC | (id == 0 ? apic::BASE_BSP : 0));
        set_msr(fd, 0x80f, 0x1ff);
        kvm_regs regs{};
        regs.rflags = spec::rflags::IF | spec::rflags::FIXED1;
        EXPECT_EQ(call(fd, KVM_SET_REGS, &regs), 0);
        kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};
        EXPECT_EQ(call(fd, KVM_SET_MP_STATE, &runnable), 0);
    }
    void msi(u32 dest, u8 vector)
    {
        kvm_msi m{};
        m.address_lo = 0xfee00000 | dest << 12;
        m.data = vector;
        EXPECT_EQ(call(vm, KVM_SIGNAL_MSI, &m), 1);
    }
    u32 taken(unsigned vcpu, u8 vector) { return seen.taken[vcpu][vector].load(); }
    // Sends, and waits until it was taken: an interrupt that is lost hangs the test.
    void send_and_wait(unsigned vcpu, u8 vector)
    {
        const u32 before = taken(vcpu, vector);
        msi(vcpu, vector);
        while (taken(vcpu, vector) == before)
            std::this_thread::yield();
    }

    Seen seen;
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
    int vm = -1;
    std::vector<int> vcpus;
};

TEST_F(InterruptStress, EveryInterruptArrives)
{
    std::vector<std::thread> running, senders;
    for (const int fd : vcpus)
        running.emplace_back([this, fd] { EXPECT_EQ(call(fd, KVM_RUN, u64{0}), 0); });
    for (unsigned s = 0; s < kSenders; ++s)
        senders.emplace_back([this, s] {
            for (unsigned i = 0; i < kRounds; ++i)
                send_and_wait(i % kVcpus, static_cast<u8>(kFirstVector + s * 16));
        });
    for (std::thread& t : senders)
        t.join();
    for (unsigned id = 0; id < kVcpus; ++id)
        msi(id, kStopVector);
    for (std::thread& t : running)
        t.join();
    for (unsigned s = 0; s < kSenders; ++s) {
        u32 total = 0;
        for (unsigned id = 0; id < kVcpus; ++id)
            total += taken(id, static_cast<u8>(kFirstVector + s * 16));
        EXPECT_EQ(total, kRounds);
    }
}

TEST_F(InterruptStress, TimersIrqfdsAndIpisMeet)
{
    std::vector<std::thread> running;
    for (const int fd : vcpus) {
        set_msr(fd, 0x83e, 0xb);
        set_msr(fd, 0x832, 0x200a0); // periodic
        set_msr(fd, 0x838, 300'000);
    }
    const int event = eventfd(0, EFD_NONBLOCK);
    struct {
        kvm_irq_routing header{.nr = 1, .flags = 0};
        kvm_irq_routing_entry entry{};
    } routes;
    routes.entry.gsi = 40;
    routes.entry.type = KVM_IRQ_ROUTING_MSI;
    routes.entry.u.msi = {.address_lo = 0xfee01000, .address_hi = 0, .data = kIpiVector, .devid = 0};
    ASSERT_EQ(call(vm, KVM_SET_GSI_ROUTING, &routes), 0);
    kvm_irqfd irqfd{.fd = static_cast<u32>(event), .gsi = 40, .flags = 0, .resamplefd = 0, .pad = {}};
    ASSERT_EQ(call(vm, KVM_IRQFD, &irqfd), 0);
    for (const int fd : vcpus)
        running.emplace_back([this, fd] { EXPECT_EQ(call(fd, KVM_RUN, u64{0}), 0); });
    for (unsigned i = 0; i < 50; ++i) {
        const u32 before = taken(1, kIpiVector);
        const u64 one = 1;
        ASSERT_EQ(write(event, &one, sizeof one), 8);
        while (taken(1, kIpiVector) == before)
            std::this_thread::yield();
        EXPECT_EQ(call(vm, KVM_SET_GSI_ROUTING, &routes), 0); // replaced while it is used
        EXPECT_EQ(call(vcpus[i % kVcpus], KVM_NMI, u64{0}), 0);
    }
    for (unsigned id = 0; id < kVcpus; ++id)
        while (taken(id, 0xa0) < 10)
            std::this_thread::yield();
    for (unsigned id = 0; id < kVcpus; ++id)
        msi(id, kStopVector);
    for (std::thread& t : running)
        t.join();
    close(event);
}

TEST_F(InterruptStress, AVmMayEndWhileItsTimersRun)
{
    for (const int fd : vcpus) {
        set_msr(fd, 0x83e, 0xb);
        set_msr(fd, 0x832, 0x200a0);
        set_msr(fd, 0x838, 200'000);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    for (const int fd : vcpus)
        EXPECT_EQ(device->close(fd), 0);
    EXPECT_EQ(device->close(vm), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

} // namespace
} // namespace seamless
