// SPDX-License-Identifier: Apache-2.0
// What a VMM chooses for a TD as a whole, read from inside: the frequency of its clock, and the width of its
// guest-physical addresses.
#include <chrono>
#include <thread>

#include "abi/td_robot.h"
#include "spec/tdx_fields.h"

namespace seamless::abi {
namespace {

Mailbox ask(TdRobot& td, Mailbox::Order what, u64 rax = 0, u64 rcx = 0, u64 rdx = 0)
{
    Mailbox order{};
    order.order = what;
    order.rax = rax;
    order.rcx = rcx;
    order.rdx = rdx;
    td.carry_out(0, order);
    return td.mailboxes.get<Mailbox>(0);
}

u64 read_td_field(TdRobot& td, u64 field)
{
    constexpr u64 kVmRd = 7;
    const Mailbox answer = ask(td, Mailbox::tdcall, kVmRd, 0, field);
    EXPECT_EQ(answer.rax, 0u);
    return answer.r8;
}

constexpr u64 kAttributes = spec::td_attributes::SEPT_VE_DISABLE;

using Steady = std::chrono::steady_clock;
double seconds(Steady::time_point from, Steady::time_point to)
{
    return std::chrono::duration<double>(to - from).count();
}

TEST(TdTsc, RunsAtTheFrequencyThatWasSet)
{
    for (const u64 khz : {100'000u, 1'000'000u, 10'000'000u}) {
        Host host;
        TdRobot td(host, 1, true, kAttributes, 48, khz);
        EXPECT_EQ(host.ioctl(td.vm, KVM_GET_TSC_KHZ), static_cast<long>(khz));
        EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_GET_TSC_KHZ), static_cast<long>(khz));
        EXPECT_EQ(read_td_field(td, spec::md::TSC_FREQUENCY), khz / 25'000);
        const Mailbox leaf = ask(td, Mailbox::cpuid, 0x15);
        EXPECT_EQ(leaf.rax, 1u);
        EXPECT_EQ(leaf.rbx, khz / 25'000);
        EXPECT_EQ(leaf.rcx, 25'000'000u);
        // Each reading lies between two looks at the host's clock.
        const auto before_first = Steady::now();
        const u64 first = ask(td, Mailbox::rdtsc).rax;
        const auto after_first = Steady::now();
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        const auto before_second = Steady::now();
        const u64 second = ask(td, Mailbox::rdtsc).rax;
        const auto after_second = Steady::now();
        const double ticks = static_cast<double>(second - first), hz = static_cast<double>(khz) * 1000;
        EXPECT_GE(ticks, 0.98 * hz * seconds(after_first, before_second)) << khz;
        EXPECT_LE(ticks, 1.02 * hz * seconds(before_first, after_second)) << khz;
    }
}

TEST(TdTsc, IsRefusedOutsideTheLimitsAndOnceVcpusExist)
{
    Host host;
    rig::TdVm td(*host.device);
    ASSERT_GE(td.create(host.sys), 0);
    const u32 own = static_cast<u32>(host.ioctl(td.vm, KVM_GET_TSC_KHZ));
    EXPECT_GT(own, 0u);
    EXPECT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, u64{0}), -EINVAL);
    EXPECT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, 10'000'001), -EINVAL);
    EXPECT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, bit(32) + 1'000'000), -EINVAL);
    EXPECT_EQ(host.ioctl(td.vm, KVM_GET_TSC_KHZ), static_cast<long>(own));
    ASSERT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, 1'000'000), 0);
    ASSERT_EQ(td.enable_apics(), 0);
    ASSERT_EQ(td.init(), 0);
    const long vcpu = td.create_vcpu();
    ASSERT_GE(vcpu, 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, 1'000'000), -EINVAL);
    EXPECT_EQ(host.ioctl(static_cast<int>(vcpu), KVM_SET_TSC_KHZ, 1'000'000), -EINVAL); // protected
}

// A TD whose guest-physical addresses have 52 bits: bit 51 says shared, and the EPT has five levels.
class TdOfFiveLevels : public testing::Test {
  protected:
    static constexpr u64 kShared = bit(51);
    static constexpr u64 kView = TdRobot::kHighView + (TdRobot::kDevice - 0xc0000000);
    Host host;
    TdRobot td{host, 1, true, kAttributes, 52};
};

TEST_F(TdOfFiveLevels, ToldItsWidthByTheModule)
{
    constexpr u64 kVpInfo = 1;
    EXPECT_EQ(ask(td, Mailbox::tdcall, kVpInfo).rcx & 0x3f, 52u);
    EXPECT_EQ(read_td_field(td, spec::md::GPAW), 1u);
    EXPECT_EQ(read_td_field(td, spec::md::CONFIG_FLAGS) & spec::config_flags::GPAW, spec::config_flags::GPAW);
}

TEST_F(TdOfFiveLevels, TakesVeForADeviceAtItsSharedBit)
{
    unsigned asked = 0;
    Mailbox order{};
    order.order = Mailbox::store;
    order.rdi = kView;
    order.rbx = 0x1122334455667788;
    td.carry_out(0, order, [&](kvm_run& run) {
        ++asked;
        EXPECT_EQ(run.exit_reason, KVM_EXIT_MMIO);
        EXPECT_EQ(run.mmio.phys_addr, TdRobot::kDevice);
        EXPECT_TRUE(run.mmio.is_write);
        EXPECT_EQ(run.mmio.len, 8u);
        u64 value = 0;
        std::memcpy(&value, run.mmio.data, sizeof value);
        EXPECT_EQ(value, 0x1122334455667788u);
        return true;
    });
    EXPECT_EQ(asked, 1u);
    EXPECT_EQ(td.mailbox().ve_count, 1u);
    EXPECT_EQ(td.mailbox().ve_gpa, TdRobot::kDevice | kShared);
    EXPECT_EQ(td.mailbox().ve_status, 0u);
    EXPECT_EQ(host.trace.of(Event::mark_mmio_spte).size(), 1u);
    order.order = Mailbox::load;
    td.carry_out(0, order, [&](kvm_run& run) {
        EXPECT_FALSE(run.mmio.is_write);
        const u64 answer = 0xcafe;
        std::memcpy(run.mmio.data, &answer, sizeof answer);
        return true;
    });
    EXPECT_EQ(td.mailbox().rbx, 0xcafeu);
    EXPECT_EQ(td.mailbox().ve_count, 1u);
}

TEST_F(TdOfFiveLevels, KeepsPrivateMemoryAndConvertsIt)
{
    EXPECT_EQ(td.accept(TdRobot::kPrivate), 0u);
    td.store(TdRobot::kPrivate, 77);
    EXPECT_EQ(td.load(TdRobot::kPrivate), 77u);
    EXPECT_EQ(td.shared.get<u64>(0), 0u); // not where the VMM sees it
    constexpr u64 kPage = TdRobot::kPrivate + kPageSize;
    const Mailbox answer = td.vmcall(0x10001, kPage | kShared, kPageSize, 0, 0, [&](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_HYPERCALL);
        EXPECT_EQ(run.hypercall.args[0], kPage);
        EXPECT_EQ(td.set_attributes(kPage, kPageSize, 0), 0);
        return true;
    });
    EXPECT_EQ(answer.r10, 0u);
    td.store(TdRobot::kSharedView + kPage, 88);
    EXPECT_EQ(td.shared.get<u64>(kPageSize), 88u);
    EXPECT_EQ(td.mailbox().ve_count, 0u);
}

TEST_F(TdOfFiveLevels, TheSharedBitOfFourLevelsIsAnAddressThere)
{
    const auto never = [](kvm_run&) {
        ADD_FAILURE() << "an exit";
        return false;
    };
    EXPECT_EQ(td.vmcall(48, 8, 0, TdRobot::kDevice | bit(47), 0, never).r10,
              TDVMCALL_STATUS_INVALID_OPERAND); // not shared
    Memory memory(kPageSize);
    EXPECT_EQ(td.set_slot(7, bit(47), kPageSize, memory.at), 0);
    EXPECT_EQ(td.set_slot(8, kShared, kPageSize, memory.at), -EINVAL);
    EXPECT_EQ(td.set_slot(8, kShared - kPageSize, kPageSize, memory.at), 0);
    const u64 shared_page[] = {bit(47), kShared - kPageSize};
    unsigned asked = 0;
    for (const u64 gpa : shared_page) // a TDVMCALL does not look at slots
        EXPECT_EQ(td.vmcall(48, 8, 1, gpa | kShared, 1,
                            [&](kvm_run& run) {
                                EXPECT_EQ(run.mmio.phys_addr, gpa);
                                ++asked;
                                return true;
                            })
                      .r10,
                  0u);
    EXPECT_EQ(asked, 2u);
}

TEST(TdOfFourLevels, HasNoSlotAtItsSharedBit)
{
    Host host;
    TdRobot td(host);
    Memory memory(kPageSize);
    EXPECT_EQ(td.set_slot(7, bit(47), kPageSize, memory.at), -EINVAL);
    EXPECT_EQ(td.set_slot(7, bit(47) - kPageSize, kPageSize, memory.at), 0);
}

} // namespace
} // namespace seamless::abi
