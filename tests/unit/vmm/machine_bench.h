// SPDX-License-Identifier: Apache-2.0
// Machines on a scripted KVM: steps of the script that look like a guest's exits, and a bench that runs them.
#pragma once

#include "unit/vmm/fake_kvm.h"
#include "unit/vmm/firmware_image.h"
#include "vmm/machine.h"

namespace seamless::vmm::test {

inline constexpr u64 MiB = u64{1} << 20;
struct Collect : devices::SerialSink {
    std::string text;
    void transmit(u8 byte) override { text += static_cast<char>(byte); }
};

struct FixedClock : devices::Clock {
    i64 seconds() const override { return 1'700'000'000; } // 2023-11-14 22:13:20
    u64 nanoseconds() const override { return 0; }
};
inline const FixedClock kClock;

inline MachinePlan plan(VmKind kind, unsigned cpus = 1)
{
    ImageBuilder b;
    return plan_machine({.kind = kind,
                         .firmware = b.build(),
                         .memory = 64 * MiB,
                         .cpus = cpus,
                         .testdevs = {{0xfe000000, 0x2000}}})
        .value();
}

inline FakeKvm::Step exit(u32 reason, std::function<void(kvm_run&)> fill = {}, int result = 0)
{
    return [=](kvm_run& run) {
        run.exit_reason = reason;
        if (fill)
            fill(run);
        return result;
    };
}

inline FakeKvm::Step out(u16 port, std::vector<u8> data)
{
    return exit(KVM_EXIT_IO, [=](kvm_run& run) {
        run.io = {.direction = KVM_EXIT_IO_OUT,
                  .size = static_cast<u8>(data.size()),
                  .port = port,
                  .count = 1,
                  .data_offset = 0x1000};
        std::memcpy(reinterpret_cast<u8*>(&run) + 0x1000, data.data(), data.size());
    });
}

inline FakeKvm::Step mmio(u64 gpa, u32 len, bool write, u64 value)
{
    return exit(KVM_EXIT_MMIO, [=](kvm_run& run) {
        run.mmio = {.phys_addr = gpa, .data = {}, .len = len, .is_write = write};
        std::memcpy(run.mmio.data, &value, 8);
    });
}

// A step that looks at what the VMM answered to the step before, then reports `reason`.
inline FakeKvm::Step check(std::function<void(const kvm_run&)> look, FakeKvm::Step then)
{
    return [=](kvm_run& run) {
        look(run);
        return then(run);
    };
}

struct Bench {
    FakeKvm kvm;
    Collect serial;

    Outcome run(VmKind kind, std::deque<FakeKvm::Step> script,
                const RunOptions& options = {.timeout_ms = 20000}, unsigned cpus = 1)
    {
        kvm.script = std::move(script);
        auto machine = Machine::build(kvm, plan(kind, cpus), serial, kClock);
        EXPECT_TRUE(machine.ok());
        return machine.value()->run(options);
    }
};

} // namespace seamless::vmm::test
