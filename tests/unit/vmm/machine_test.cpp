// SPDX-License-Identifier: Apache-2.0
// Building and running machines on a scripted KVM: the order of calls, every row of the exit table, the way
// out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/vmm/machine_bench.h"

namespace seamless::vmm::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Builder, TdIsBuiltInKvmsOrder)
{
    FakeKvm kvm;
    Collect serial;
    const auto machine = Machine::build(kvm, plan(VmKind::td, 2), serial, kClock);
    ASSERT_TRUE(machine.ok()) << machine.error().text;
    EXPECT_THAT(kvm.calls, ElementsAre("open", "CREATE_VM 5", "ENABLE_CAP 121", "ENABLE_CAP 129",
                                       "ENABLE_CAP 201", "ENABLE_CAP 237", "TDX 0", "TDX 0", "TDX 1", "TDX 1",
                                       "TDX 1", "CREATE_VCPU 0", "SET_CPUID2", "CREATE_VCPU 1", "SET_CPUID2",
                                       "CREATE_GUEST_MEMFD", "MEMORY_REGION", "ATTRIBUTES",
                                       "CREATE_GUEST_MEMFD", "MEMORY_REGION", "ATTRIBUTES", "TDX 2 vcpu 0",
                                       "TDX 2 vcpu 1", "TDX 3", "TDX 3", "TDX 3", "TDX 3", "TDX 4"));
    EXPECT_EQ(kvm.init_vm.attributes, bit(28));
    EXPECT_EQ(kvm.init_vm.xfam, 0xe7u);
    for (const auto& a : kvm.attributes)
        EXPECT_EQ(a.attributes, KVM_MEMORY_ATTRIBUTE_PRIVATE);
}

TEST(Builder, CpuidOfATdIsWhatKvmSupportsUnderTheModulesMasks)
{
    FakeKvm kvm;
    Collect serial;
    ASSERT_TRUE(Machine::build(kvm, plan(VmKind::td, 2), serial, kClock).ok());
    ASSERT_EQ(kvm.init_cpuid.size(), 3u);
    EXPECT_EQ(kvm.init_cpuid[0].eax, 0u);
    EXPECT_EQ(kvm.init_cpuid[0].ebx, 2u << 16);
    EXPECT_EQ(kvm.init_cpuid[0].ecx, 0x31044d88u);
    EXPECT_EQ(kvm.init_cpuid[1].ebx, 0x00f000f0u);
    EXPECT_EQ(kvm.init_cpuid[2].eax, (48u << 16) | 0x34);
}

TEST(Builder, SectionsAreAddedWithTheirContentAndMeasuredAsTheySay)
{
    FakeKvm kvm;
    Collect serial;
    std::vector<std::tuple<u64, u64, u32, u8>> regions;
    kvm.on_memory_region = [&] {
        regions.emplace_back(kvm.region.gpa, kvm.region.nr_pages, kvm.flags,
                             *reinterpret_cast<const u8*>(kvm.region.source_addr + 2));
    };
    const MachinePlan p = plan(VmKind::td);
    ASSERT_TRUE(Machine::build(kvm, p, serial, kClock).ok());
    using R = std::tuple<u64, u64, u32, u8>;
    EXPECT_THAT(regions, ElementsAre(R{ImageBuilder::kBase + 0x8000, 8, 1, p.config.firmware[0x8002]},
                                     R{ImageBuilder::kBase, 2, 0, p.config.firmware[2]}, R{0x810000, 3, 0, 0},
                                     R{0x809000, 2, 0, 56}));
}

TEST(Builder, PlainVmStartsInTheStateOfATd)
{
    FakeKvm kvm;
    Collect serial;
    ASSERT_TRUE(Machine::build(kvm, plan(VmKind::plain, 2), serial, kClock).ok());
    EXPECT_EQ(kvm.calls[1], "CREATE_VM 0");
    const kvm_regs& regs = kvm.regs[FakeKvm::kVcpu0 + 1];
    EXPECT_EQ(regs.rip, 0xfffffff0u);
    EXPECT_EQ(regs.rcx, 0x809000u);
    EXPECT_EQ(regs.rsi, 1u);
    EXPECT_EQ(regs.rbx, 48u);
    const kvm_sregs& sregs = kvm.sregs[FakeKvm::kVcpu0];
    EXPECT_EQ(sregs.cr0 & (bit(31) | 1), 1u);
    EXPECT_EQ(sregs.cs.db, 1);
    EXPECT_EQ(sregs.cs.limit, 0xffffffffu);
    EXPECT_EQ(sregs.ds.type, 3);
    EXPECT_EQ(kvm.mp_state[FakeKvm::kVcpu0 + 1], KVM_MP_STATE_RUNNABLE);
}

TEST(Builder, RefusalsNameTheCallAndLeaveNothingOpen)
{
    for (const u32 request : {KVM_CREATE_VM, KVM_ENABLE_CAP, KVM_CREATE_VCPU, KVM_SET_CPUID2,
                              KVM_CREATE_GUEST_MEMFD, KVM_SET_USER_MEMORY_REGION2, KVM_SET_MEMORY_ATTRIBUTES,
                              KVM_MEMORY_ENCRYPT_OP, KVM_GET_SUPPORTED_CPUID}) {
        FakeKvm kvm;
        Collect serial;
        kvm.refuse[request] = ENOSPC;
        const auto machine = Machine::build(kvm, plan(VmKind::td), serial, kClock);
        ASSERT_FALSE(machine.ok());
        EXPECT_THAT(machine.error().text, HasSubstr("KVM_"));
        EXPECT_THAT(machine.error().text, HasSubstr("ENOSPC"));
        EXPECT_EQ(kvm.open_fds, 0);
    }
}

TEST(Builder, DeviceWithoutTdsIsNamed)
{
    FakeKvm kvm;
    Collect serial;
    kvm.offers_td = false;
    EXPECT_THAT(Machine::build(kvm, plan(VmKind::td), serial, kClock).error().text, HasSubstr("no TDs"));
    EXPECT_TRUE(Machine::build(kvm, plan(VmKind::plain), serial, kClock).ok());
}

TEST(Exits, PortWritesReachSerialAndDebugExit)
{
    Bench bench;
    const Outcome outcome = bench.run(VmKind::td, {out(0x3f8, {'o'}), out(0x3f8, {'k'}), out(0xf4, {0x21})});
    EXPECT_EQ(bench.serial.text, "ok");
    EXPECT_EQ(outcome.kind, Outcome::Kind::debug_exit);
    EXPECT_EQ(outcome.exit_status(), 0x43);
    EXPECT_EQ(bench.kvm.open_fds, 0);
}

TEST(Exits, PowerPortEndsWithStatusZero)
{
    Bench bench;
    EXPECT_EQ(bench.run(VmKind::td, {out(0x604, {0x00, 0x20})}).exit_status(), 0);
}

TEST(Exits, StringPortWriteGivesEveryItem)
{
    Bench bench;
    const auto text = exit(KVM_EXIT_IO, [](kvm_run& run) {
        run.io = {.direction = KVM_EXIT_IO_OUT, .size = 1, .port = 0x3f8, .count = 3, .data_offset = 0x1000};
        std::memcpy(reinterpret_cast<u8*>(&run) + 0x1000, "abc", 3);
    });
    (void)bench.run(VmKind::plain, {text, out(0xf4, {0})});
    EXPECT_EQ(bench.serial.text, "abc");
}

TEST(Exits, PortDataOutsideThePagesIsOurBugNotACrash)
{
    for (const u64 offset : {u64{12288}, ~u64{0}, u64{12287}}) {
        Bench bench;
        const auto bad = exit(KVM_EXIT_IO, [=](kvm_run& run) {
            run.io = {.direction = 1, .size = 2, .port = 0x3f8, .count = 1, .data_offset = offset};
        });
        EXPECT_EQ(bench.run(VmKind::plain, {bad}).exit_status(), 70);
    }
}

TEST(Exits, MmioReachesTestdevAndUnclaimedReadsGiveAllOnes)
{
    Bench bench;
    u64 first = 0, second = 0;
    const auto data = [](u64& to) {
        return [&to](const kvm_run& run) { std::memcpy(&to, run.mmio.data, 8); };
    };
    (void)bench.run(VmKind::td,
                    {mmio(0xfe000010, 4, true, 0x11223344), mmio(0xfe000010, 8, false, 0),
                     check(data(first), mmio(0xfd000000, 4, false, 0)), check(data(second), out(0xf4, {0}))});
    EXPECT_EQ(first, 0x11223344u);
    EXPECT_EQ(second, 0xffffffffu);
}

TEST(Exits, MapGpaConvertsAndDiscardsTheOtherSide)
{
    Bench bench;
    std::vector<u64> answers;
    const auto call = [&](u64 gpa, u64 pages, u64 flags) {
        return exit(KVM_EXIT_HYPERCALL, [=](kvm_run& run) {
            run.hypercall = {.nr = 12, .args = {gpa, pages, flags}, .ret = 0, .flags = 1};
        });
    };
    const auto answer = [&](const kvm_run& run) { answers.push_back(run.hypercall.ret); };
    (void)bench.run(VmKind::td, {call(0x100000, 2, 0), check(answer, call(0x100000, 2, 16)),
                                 check(answer, call(0x40000000, 1, 16)),
                                 check(answer, call(0x3fff000, 2, 16)), check(answer, call(0x1000, 0, 16)),
                                 check(answer, call(0x1000, ~u64{0}, 16)), check(answer, out(0xf4, {0}))});
    const u64 einval = u64{0} - EINVAL;
    // RAM ends at 64 MiB: no memory, across its end, nothing, more than the address space.
    EXPECT_THAT(answers, ElementsAre(0, 0, einval, einval, einval, einval));
    ASSERT_EQ(bench.kvm.attributes.size(), 4u); // two slots at the start, two conversions
    EXPECT_EQ(bench.kvm.attributes[2].attributes, 0u);
    EXPECT_EQ(bench.kvm.attributes[2].address, 0x100000u);
    EXPECT_EQ(bench.kvm.attributes[3].attributes, KVM_MEMORY_ATTRIBUTE_PRIVATE);
    EXPECT_EQ(bench.kvm.punched, (std::vector<std::pair<u64, u64>>{{0x100000, 0x2000}}));
}

TEST(Exits, MemoryFaultConvertsAndUnknownFlagsAreOurBug)
{
    const auto fault = [](u64 flags, u64 gpa) {
        return exit(
            KVM_EXIT_MEMORY_FAULT,
            [=](kvm_run& run) { run.memory_fault = {.flags = flags, .gpa = gpa, .size = 0x1000}; }, -EFAULT);
    };
    Bench converts;
    EXPECT_EQ(converts.run(VmKind::td, {fault(0, 0x5000), out(0xf4, {0})}).exit_status(), 1);
    EXPECT_EQ(converts.kvm.punched, (std::vector<std::pair<u64, u64>>{{0x5000, 0x1000}}));
    Bench nowhere;
    const Outcome died = nowhere.run(VmKind::td, {fault(8, 0xd0000000)});
    EXPECT_EQ(died.exit_status(), 6);
    EXPECT_THAT(died.report, HasSubstr("0xd0000000"));
    Bench unknown;
    EXPECT_EQ(unknown.run(VmKind::td, {fault(1, 0x5000)}).exit_status(), 70);
}

TEST(Exits, FatalErrorShowsTheGuestsMessage)
{
    Bench bench;
    const Outcome outcome =
        bench.run(VmKind::td, {exit(KVM_EXIT_SYSTEM_EVENT, [](kvm_run& run) {
                      auto& event = run.system_event;
                      event = {.type = KVM_SYSTEM_EVENT_TDX_FATAL, .ndata = 16, .data = {}};
                      event.data[1] = 0xffcc;
                      event.data[12] = 0x17;
                      std::memcpy(&event.data[14], "no mem\033y", 8); // R14, then R15
                      std::memcpy(&event.data[15], "!", 2);
                  })});
    EXPECT_EQ(outcome.exit_status(), 6);
    EXPECT_THAT(outcome.report, HasSubstr("\"no mem.y!\""));
    EXPECT_THAT(outcome.report, HasSubstr("0x17"));
}

TEST(Exits, EndsThatNeedNoData)
{
    struct Row {
        u32 reason;
        std::function<void(kvm_run&)> fill;
        int status;
        const char* says;
    };
    const Row rows[] = {
        {KVM_EXIT_SHUTDOWN, {}, 6, "triple fault"},
        {KVM_EXIT_FAIL_ENTRY,
         [](kvm_run& run) {
             run.fail_entry = {0x80000021, 0};
         },
         6, "0x80000021"},
        {KVM_EXIT_HLT, {}, 6, "HLT"},
        {KVM_EXIT_INTERNAL_ERROR,
         [](kvm_run& run) {
             run.internal = {4, 2, {0x30}};
         },
         6, "suberror 4"},
        {KVM_EXIT_INTERNAL_ERROR,
         [](kvm_run& run) {
             run.internal = {1, 1000, {}};
         },
         6, "suberror 1"},
        {KVM_EXIT_SYSTEM_EVENT, [](kvm_run& run) { run.system_event = {.type = KVM_SYSTEM_EVENT_SHUTDOWN}; },
         0, ""},
        {KVM_EXIT_SYSTEM_EVENT, [](kvm_run& run) { run.system_event = {.type = KVM_SYSTEM_EVENT_RESET}; }, 8,
         "reset"},
        {KVM_EXIT_SYSTEM_EVENT, [](kvm_run& run) { run.system_event = {.type = KVM_SYSTEM_EVENT_CRASH}; }, 6,
         "crashed"},
        {KVM_EXIT_UNKNOWN, {}, 70, "does not know"},
        {12345, {}, 70, "12345"},
    };
    for (const Row& row : rows)
        for (const VmKind kind : {VmKind::td, VmKind::plain}) {
            Bench bench;
            const Outcome outcome = bench.run(kind, {exit(row.reason, row.fill)});
            EXPECT_EQ(outcome.exit_status(), row.status) << row.reason;
            EXPECT_THAT(outcome.report, HasSubstr(row.says)) << row.reason;
        }
}

TEST(Exits, EmulationFailureShowsTheInstructionsBytes)
{
    Bench bench;
    const Outcome outcome = bench.run(
        VmKind::plain, {exit(KVM_EXIT_INTERNAL_ERROR, [](kvm_run& run) {
            run.emulation_failure = {
                .suberror = 1, .ndata = 8, .flags = 1, .insn_size = 3, .insn_bytes = {0x0f, 0xae, 0x38}};
        })});
    EXPECT_THAT(outcome.report, HasSubstr("0f ae 38"));
    EXPECT_EQ(outcome.death, Death::internal_error);
}

TEST(Exits, ErrorsOfKvmRun)
{
    const auto error = [](int e) { return exit(KVM_EXIT_UNKNOWN, {}, -e); };
    Bench again;
    EXPECT_EQ(again
                  .run(VmKind::td,
                       {error(EINTR), error(EAGAIN), exit(KVM_EXIT_INTR), exit(KVM_EXIT_TDX), out(0xf4, {0})})
                  .exit_status(),
              1);
    Bench dead;
    EXPECT_EQ(dead.run(VmKind::td, {error(EIO)}).exit_status(), 6);
    Bench invalid;
    EXPECT_THAT(invalid.run(VmKind::td, {error(EINVAL)}).report, HasSubstr("EINVAL"));
    Bench fault;
    EXPECT_EQ(fault.run(VmKind::td, {error(EFAULT)}).exit_status(), 70);
}

TEST(Run, TimeoutEndsEveryVcpu)
{
    Bench bench;
    const Outcome outcome = bench.run(VmKind::td, {}, {.timeout_ms = 50}, 3);
    EXPECT_EQ(outcome.exit_status(), 4);
    EXPECT_EQ(bench.kvm.open_fds, 0);
    EXPECT_GT(bench.kvm.signals, 0);
}

TEST(Run, TheFirstEndWins)
{
    FakeKvm kvm;
    Collect serial;
    auto machine = Machine::build(kvm, plan(VmKind::td), serial, kClock);
    machine.value()->end({.kind = Outcome::Kind::signal, .value = 2});
    machine.value()->end({.kind = Outcome::Kind::powered_off});
    EXPECT_EQ(machine.value()->run({}).exit_status(), 130);
}

struct Stalled : InspectionPort {
    u64 count = 0;
    Stall stall(unsigned index) override { return {index == 1 ? count : 0, "at rip 0x1234"}; }
};

TEST(Run, VcpuWithoutProgressIsReported)
{
    Stalled stalled;
    stalled.count = 1000000;
    Bench bench;
    const Outcome outcome = bench.run(VmKind::td, {}, {.timeout_ms = 20000, .inspection = &stalled}, 2);
    EXPECT_EQ(outcome.exit_status(), 6);
    EXPECT_THAT(outcome.report, HasSubstr("vCPU 1"));
    EXPECT_THAT(outcome.report, HasSubstr("0x1234"));
    stalled.count = 100;
    Bench slow;
    EXPECT_EQ(slow.run(VmKind::td, {}, {.timeout_ms = 600, .inspection = &stalled}, 2).exit_status(), 4);
}

TEST(Run, InputReachesTheSerialPort)
{
    FakeKvm kvm;
    Collect serial;
    u8 got = 0;
    const auto in = exit(KVM_EXIT_IO, [](kvm_run& run) {
        run.io = {.direction = KVM_EXIT_IO_IN, .size = 1, .port = 0x3f8, .count = 1, .data_offset = 0x1000};
    });
    kvm.script = {in, check([&](const kvm_run& run) { got = reinterpret_cast<const u8*>(&run)[0x1000]; },
                            out(0xf4, {0}))};
    auto machine = Machine::build(kvm, plan(VmKind::plain), serial, kClock);
    EXPECT_EQ(machine.value()->receive(std::vector<u8>{'q'}), 1u);
    EXPECT_EQ(machine.value()->run({.timeout_ms = 20000}).exit_status(), 1);
    EXPECT_EQ(got, 'q');
}

} // namespace
} // namespace seamless::vmm::test
