// SPDX-License-Identifier: Apache-2.0
// The machine's devices through a vCPU's exits: interrupts to KVM, fw_cfg, power, reset, the clock.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/vmm/kernel_image.h"
#include "unit/vmm/machine_bench.h"

namespace seamless::vmm::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

FakeKvm::Step ioapic(u8 index, u32 value, std::deque<FakeKvm::Step>& script)
{
    script.push_back(mmio(0xfec00000, 4, true, index));
    return mmio(0xfec00010, 4, true, value);
}

TEST(Devices, SerialInterruptBecomesAMessage)
{
    Bench bench;
    std::deque<FakeKvm::Step> script;
    script.push_back(ioapic(0x19, 0x01000000, script));
    script.push_back(ioapic(0x18, 0x31, script));
    script.push_back(out(0x3fc, {8})); // OUT2
    script.push_back(out(0x3f9, {2})); // THRE
    script.push_back(out(0xf4, {0}));
    (void)bench.run(VmKind::td, script);
    EXPECT_THAT(bench.kvm.messages, ElementsAre(std::pair<u32, u32>{0xfee01000, 0x31}));
    EXPECT_TRUE(bench.kvm.routes.empty());
}

TEST(Devices, LevelInterruptIsRoutedAndItsEoiComesBack)
{
    Bench bench;
    std::deque<FakeKvm::Step> script;
    script.push_back(ioapic(0x18, 0x8031, script));
    script.push_back(out(0x3fc, {8}));
    script.push_back(out(0x3f9, {2}));
    const auto eoi = [](u8 vector) {
        return exit(KVM_EXIT_IOAPIC_EOI, [=](kvm_run& run) { run.eoi.vector = vector; });
    };
    script.push_back(eoi(0x32));
    script.push_back(eoi(0x31)); // still asserted: sent again
    script.push_back(out(0xf4, {0}));
    (void)bench.run(VmKind::plain, script);
    EXPECT_EQ(bench.kvm.messages.size(), 2u);
    ASSERT_EQ(bench.kvm.routes.size(), 1u);
    ASSERT_EQ(bench.kvm.routes[0].size(), 1u);
    EXPECT_EQ(bench.kvm.routes[0][0].gsi, 4u);
    EXPECT_EQ(bench.kvm.routes[0][0].u.msi.data, 0xc031u);
}

TEST(Devices, FwCfgDeliversTheKernelByDmaAndRefusesWhatIsNoMemory)
{
    const KernelBuilder b;
    const TemporaryFile kernel(b.bytes);
    const LinuxPayload payload = load_linux(kernel.path(), "", "console=ttyS0").value();
    ImageBuilder image;
    const MachinePlan p =
        plan_machine({.firmware = image.build(), .memory = 64 * MiB, .payload = &payload}).value();
    FakeKvm kvm;
    Collect serial;
    auto machine = Machine::build(kvm, p, serial, kClock);
    ASSERT_TRUE(machine.ok());
    u8* ram = kvm.slots.at(0);
    const u8 read_kernel[16] = {0, 0x11, 0, 0x0a, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0};
    const u8 read_hole[16] = {0, 0x15, 0, 0x0a, 0, 0, 0, 8, 0, 0, 0, 0, 0xd0, 0, 0, 0};
    std::memcpy(ram + 0x1000, read_kernel, 16);
    std::memcpy(ram + 0x1010, read_hole, 16);
    kvm.script = {out(0x518, {0, 0, 0x10, 0x00}), out(0x518, {0, 0, 0x10, 0x10}),
                  out(0x518, {0xff, 0xff, 0, 0}), out(0xf4, {0})};
    EXPECT_EQ(machine.value()->run({.timeout_ms = 20000}).exit_status(), 1);
    EXPECT_EQ(std::memcmp(ram + 0x2000, b.bytes.data() + KernelBuilder::kSetup, 0x1000), 0);
    EXPECT_EQ(ram[0x1003], 0);
    EXPECT_EQ(ram[0x1013], 1);
}

TEST(Devices, SleepControlPowersOffAndResetPortResets)
{
    Bench sleep;
    EXPECT_EQ(sleep.run(VmKind::td, {out(0x620, {0x14}), out(0x620, {0x34})}).exit_status(), 0);
    Bench td;
    const Outcome outcome = td.run(VmKind::td, {out(0xcf9, {2}), out(0xcf9, {6})});
    EXPECT_EQ(outcome.exit_status(), 8);
    EXPECT_THAT(outcome.report, HasSubstr("a TD cannot be reset"));
    Bench plain;
    EXPECT_EQ(plain.run(VmKind::plain, {out(0xcf9, {6})}).exit_status(), 8);
}

// A disk of one sector that says so when it is gone.
struct Sector : devices::virtio::Disk {
    explicit Sector(bool& is_there) : there(is_there) { there = true; }
    ~Sector() override { there = false; }
    u64 size() const override { return 512; }
    bool read_only() const override { return false; }
    bool read(u64, std::span<const std::span<u8>>) override { return true; }
    bool write(u64, std::span<const std::span<u8>>) override { return true; }
    bool flush() override { return true; }
    bool zero(u64, u64, bool) override { return true; }
    bool& there;
};

TEST(Devices, BackendsOutliveAMachineThatIsReset)
{
    bool there = false;
    VirtioBackends backends;
    backends.disks.push_back(std::make_unique<Sector>(there));
    backends.network = UserNetwork::open({}).value();
    const devices::virtio::Disk* disk = backends.disks.front().get();
    Collect serial;
    for (int i = 0; i < 3; ++i) {
        FakeKvm kvm;
        u32 device = 0;
        const auto look = [&](const kvm_run& run) { std::memcpy(&device, run.mmio.data, sizeof device); };
        kvm.script = {mmio(0xfeb00008, 4, false, 0), check(look, out(0xcf9, {6}))};
        auto machine = Machine::build(kvm, plan(VmKind::plain), serial, kClock, std::move(backends));
        ASSERT_TRUE(machine.ok());
        EXPECT_EQ(machine.value()->run({.timeout_ms = 20000}).kind, Outcome::Kind::reset);
        EXPECT_EQ(device, 2u) << "a block device";
        backends = machine.value()->release_backends();
        ASSERT_EQ(backends.disks.size(), 1u);
        EXPECT_EQ(backends.disks.front().get(), disk);
        ASSERT_NE(backends.network, nullptr);
    }
    EXPECT_TRUE(there);
    backends.disks.clear();
    EXPECT_FALSE(there);
}

TEST(Devices, RealTimeClockShowsTheGivenTime)
{
    Bench bench;
    std::vector<u8> got;
    const auto in = exit(KVM_EXIT_IO, [](kvm_run& run) {
        run.io = {.direction = KVM_EXIT_IO_IN, .size = 1, .port = 0x71, .count = 1, .data_offset = 0x1000};
    });
    const auto look = [&](const kvm_run& run) { got.push_back(reinterpret_cast<const u8*>(&run)[0x1000]); };
    (void)bench.run(VmKind::plain, {out(0x70, {0x80 | 4}), in, check(look, out(0x70, {9})), in,
                                    check(look, out(0xf4, {0}))});
    EXPECT_THAT(got, ElementsAre(0x22, 0x23));
}

} // namespace
} // namespace seamless::vmm::test
