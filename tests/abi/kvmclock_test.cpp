// SPDX-License-Identifier: Apache-2.0
// kvmclock of a plain VM from its guest: the MSRs, the structures in its memory, and the ioctls that move the
// clock.
#include "abi/plain_vm.h"
#include "abi/td_robot.h"
#include "spec/kvm_para.h"
#include "spec/tdx_ghci.h"

namespace seamless::abi {
namespace {

constexpr u64 kWall = 0x6000, kTime = 0x6100, kSeconds = 1'000'000'000;

struct KvmClockTest : testing::Test {
    Host host;
    PlainVm vm{host};

    // WRMSR of EDX:EAX to ECX, then RDTSC, then HLT.
    u32 wrmsr(u32 msr, u64 value)
    {
        vm.regs.rip = kCode;
        vm.regs.rcx = msr;
        vm.regs.rax = static_cast<u32>(value);
        vm.regs.rdx = value >> 32;
        return vm.start({0x0f, 0x30, 0x0f, 0x31});
    }
    [[nodiscard]] u64 guest_tsc() const { return vm.regs.rdx << 32 | static_cast<u32>(vm.regs.rax); }
    [[nodiscard]] bool took_fault() const { return vm.regs.rip == kHandlers + 16 * 13 + 1; }
    [[nodiscard]] pvclock_vcpu_time_info time() const { return vm.memory.get<pvclock_vcpu_time_info>(kTime); }
    // As the API tells guests to do it.
    [[nodiscard]] static u64 ns(const pvclock_vcpu_time_info& t, u64 tsc)
    {
        u64 delta = tsc - t.tsc_timestamp;
        delta = t.tsc_shift < 0 ? delta >> -t.tsc_shift : delta << t.tsc_shift;
        return t.system_time +
               static_cast<u64>(static_cast<unsigned __int128>(delta) * t.tsc_to_system_mul >> 32);
    }
    kvm_clock_data clock()
    {
        kvm_clock_data data{};
        EXPECT_EQ(host.ioctl(vm.vm, KVM_GET_CLOCK, &data), 0);
        return data;
    }
    long set_cpuid_features(u32 eax)
    {
        struct {
            kvm_cpuid2 header{.nent = 1, .padding = 0};
            kvm_cpuid_entry2 entry{.function = KVM_CPUID_FEATURES};
        } table;
        table.entry.eax = eax;
        return host.ioctl(vm.vcpu, KVM_SET_CPUID2, &table);
    }
};

TEST_F(KvmClockTest, TheGuestReadsTheTimeThatTheHostReads)
{
    vm.memory.put<u32>(kTime, 0x77); // what was there before does not matter
    const u64 before = clock().clock;
    EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    const u64 after = clock().clock;
    const auto t = time();
    EXPECT_EQ(t.version % 2, 0u);
    EXPECT_GT(t.version, 0x77u);
    EXPECT_EQ(t.flags, PVCLOCK_TSC_STABLE_BIT);
    EXPECT_GE(ns(t, guest_tsc()), before);
    EXPECT_LE(ns(t, guest_tsc()), after);
}

TEST_F(KvmClockTest, TheClockPlusTheTimeIsTheRealTime)
{
    vm.memory.put<u32>(kWall, 5);
    EXPECT_EQ(wrmsr(MSR_KVM_WALL_CLOCK_NEW, kWall), KVM_EXIT_HLT);
    const auto wall = vm.memory.get<pvclock_wall_clock>(kWall);
    EXPECT_EQ(wall.version, 8u);
    EXPECT_LT(wall.nsec, kSeconds);
    const auto data = clock();
    const u64 epoch = wall.sec * kSeconds + wall.nsec;
    EXPECT_EQ(data.flags, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC);
    EXPECT_NEAR(static_cast<double>(epoch + data.clock), static_cast<double>(data.realtime), 1e8);
}

TEST_F(KvmClockTest, SetClockReachesTheGuest)
{
    ASSERT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    const u32 version = time().version;
    kvm_clock_data data{};
    data.clock = 5000 * kSeconds;
    ASSERT_EQ(host.ioctl(vm.vm, KVM_SET_CLOCK, &data), 0);
    ASSERT_EQ(wrmsr(MSR_KVM_WALL_CLOCK_NEW, 0), KVM_EXIT_HLT);
    EXPECT_GT(time().version, version);
    EXPECT_GE(ns(time(), guest_tsc()), 5000 * kSeconds);
    EXPECT_LT(ns(time(), guest_tsc()), 5100 * kSeconds);
    // The time that passed since the clock was read counts, where the real time of the reading is known.
    data = clock();
    data.realtime -= 1000 * kSeconds;
    ASSERT_EQ(host.ioctl(vm.vm, KVM_SET_CLOCK, &data), 0);
    EXPECT_GE(clock().clock, 6000 * kSeconds);
    data = clock();
    data.realtime += 1000 * kSeconds; // from the future: it does not go back
    const u64 now = data.clock;
    ASSERT_EQ(host.ioctl(vm.vm, KVM_SET_CLOCK, &data), 0);
    EXPECT_GE(clock().clock, now);
    data.flags = 1;
    EXPECT_EQ(host.ioctl(vm.vm, KVM_SET_CLOCK, &data), -EINVAL);
}

TEST_F(KvmClockTest, TheOldMsrsGiveNoStableClock)
{
    EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    EXPECT_EQ(time().flags, 0);
    EXPECT_EQ(clock().flags, 0u);
    EXPECT_EQ(wrmsr(MSR_KVM_WALL_CLOCK, kWall), KVM_EXIT_HLT);
    EXPECT_GT(vm.memory.get<pvclock_wall_clock>(kWall).sec, 1'600'000'000u);
}

TEST_F(KvmClockTest, AMovedCounterIsCompensated)
{
    ASSERT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    const u64 before = clock().clock;
    ASSERT_EQ(wrmsr(static_cast<u32>(spec::Msr::IA32_TSC), u64{1} << 50), KVM_EXIT_HLT);
    EXPECT_GE(guest_tsc(), u64{1} << 50);
    EXPECT_GE(ns(time(), guest_tsc()), before);
    EXPECT_LE(ns(time(), guest_tsc()), clock().clock);
    EXPECT_EQ(time().flags, PVCLOCK_TSC_STABLE_BIT);
}

TEST_F(KvmClockTest, SaysOnceThatTheGuestWasStopped)
{
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_KVMCLOCK_CTRL), -EINVAL); // no clock to say it in
    ASSERT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_KVMCLOCK_CTRL), 0);
    ASSERT_EQ(wrmsr(MSR_KVM_WALL_CLOCK_NEW, 0), KVM_EXIT_HLT);
    EXPECT_EQ(time().flags, PVCLOCK_TSC_STABLE_BIT | PVCLOCK_GUEST_STOPPED);
    auto seen = time();
    seen.flags = PVCLOCK_TSC_STABLE_BIT;
    vm.memory.put(kTime, seen);
    ASSERT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    EXPECT_EQ(time().flags, PVCLOCK_TSC_STABLE_BIT);
}

TEST_F(KvmClockTest, AddressesThatCannotBeWrittenAreIgnored)
{
    for (const u64 gpa : {u64{kDevice}, ~u64{1}, u64{kTime + 0xef0}, u64{0x123456789000}}) {
        EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, gpa | KVM_MSR_ENABLED), KVM_EXIT_HLT) << gpa;
        EXPECT_FALSE(took_fault()) << gpa;
        EXPECT_EQ(wrmsr(MSR_KVM_WALL_CLOCK_NEW, gpa), KVM_EXIT_HLT) << gpa;
        EXPECT_FALSE(took_fault()) << gpa;
    }
    // Its last byte would lie in the next page.
    EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0x6fe0 + 8 + KVM_MSR_ENABLED), KVM_EXIT_HLT);
    EXPECT_EQ(vm.memory.get<u64>(0x6fe8), 0u);
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_KVMCLOCK_CTRL), -EINVAL);
}

TEST_F(KvmClockTest, CpuidDecidesWhereTheVmmWantsIt)
{
    kvm_enable_cap cap{};
    cap.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID;
    cap.args[0] = 1;
    ASSERT_EQ(set_cpuid_features(u32{1} << KVM_FEATURE_CLOCKSOURCE2), 0);
    ASSERT_EQ(host.ioctl(vm.vcpu, KVM_ENABLE_CAP, &cap), 0);
    EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME_NEW, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    EXPECT_FALSE(took_fault());
    EXPECT_EQ(wrmsr(MSR_KVM_SYSTEM_TIME, kTime | KVM_MSR_ENABLED), KVM_EXIT_HLT);
    EXPECT_TRUE(took_fault());
    vm.regs.rsp = kStack;
    EXPECT_EQ(wrmsr(MSR_KVM_WALL_CLOCK, kWall), KVM_EXIT_HLT);
    EXPECT_TRUE(took_fault());
    cap.flags = 1;
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_ENABLE_CAP, &cap), -EINVAL);
    cap = {};
    cap.cap = KVM_CAP_SPLIT_IRQCHIP; // of a VM
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_ENABLE_CAP, &cap), -EINVAL);
}

TEST_F(KvmClockTest, IsOfferedAndListed)
{
    std::vector<u8> buffer(sizeof(kvm_cpuid2) + 256 * sizeof(kvm_cpuid_entry2));
    auto* table = reinterpret_cast<kvm_cpuid2*>(buffer.data());
    table->nent = 256;
    ASSERT_EQ(host.ioctl(host.sys, KVM_GET_SUPPORTED_CPUID, table), 0);
    u32 features = 0;
    for (u32 i = 0; i < table->nent; ++i)
        if (table->entries()[i].function == KVM_CPUID_FEATURES)
            features = table->entries()[i].eax;
    EXPECT_EQ(features & 0x01000009, 0x01000009u);
    struct {
        u32 count = 100;
        u32 index[100]{};
    } list;
    ASSERT_EQ(host.ioctl(host.sys, KVM_GET_MSR_INDEX_LIST, &list), 0);
    for (const u32 msr :
         {MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW})
        EXPECT_EQ(std::count(list.index, list.index + list.count, msr), 1) << std::hex << msr;
    EXPECT_EQ(host.ioctl(host.sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_ADJUST_CLOCK}), 14);
    EXPECT_EQ(host.ioctl(host.sys, KVM_CHECK_EXTENSION, u64{KVM_CAP_KVMCLOCK_CTRL}), 1);
}

TEST(KvmClockOfTd, IsRefused)
{
    constexpr u64 kRdmsr = 31, kWrmsr = 32;
    Host host;
    TdRobot td{host};
    for (const u32 msr :
         {MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW}) {
        EXPECT_EQ(td.vmcall(kWrmsr, msr, TdRobot::kShared | KVM_MSR_ENABLED).r10,
                  TDVMCALL_STATUS_INVALID_OPERAND);
        EXPECT_EQ(td.vmcall(kRdmsr, msr).r10, TDVMCALL_STATUS_INVALID_OPERAND);
    }
    EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_KVMCLOCK_CTRL), -EINVAL);
}

} // namespace
} // namespace seamless::abi
