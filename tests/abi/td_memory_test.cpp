// SPDX-License-Identifier: Apache-2.0
// Memory of a TD that changes under it: conversions, holes, memslots that come and go, while one or several
// of its vCPUs use it.
#include <linux/falloc.h>
#include <thread>

#include "abi/running.h"
#include "kvm/vm.h"
#include "rig/memory.h"

namespace seamless::abi {
namespace {

using rig::LosableMemory;

constexpr u64 kPage = TdRobot::kPrivate, kS = TdRobot::kShared, kView = TdRobot::kSharedView;
constexpr u64 kPrivateAttribute = KVM_MEMORY_ATTRIBUTE_PRIVATE;
constexpr int kPunch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;

void expect_memory_fault(const TdRobot& td, unsigned n, u64 gpa, u64 flags)
{
    const kvm_run& run = *td.runs[n];
    EXPECT_EQ(run.exit_reason, KVM_EXIT_MEMORY_FAULT);
    EXPECT_EQ(run.memory_fault.gpa, gpa);
    EXPECT_EQ(run.memory_fault.size, kPageSize);
    EXPECT_EQ(run.memory_fault.flags, flags);
}

TEST(TdMemory, AccessesThatDisagreeWithTheAttributeAreMemoryFaults)
{
    Host host;
    TdRobot td(host);
    td.give(0, access(Mailbox::load, kView + kPage)); // shared access, private attribute
    EXPECT_EQ(td.run_once(), -EFAULT);
    expect_memory_fault(td, 0, kPage, 0);
    ASSERT_EQ(td.set_attributes(kPage, kPageSize, 0), 0); // the VMM converts and runs again
    ASSERT_EQ(td.run_once(), KVM_EXIT_IO);
    td.give(0, access(Mailbox::load, kPage)); // now the other way round
    EXPECT_EQ(td.run_once(), -EFAULT);
    expect_memory_fault(td, 0, kPage, KVM_MEMORY_EXIT_FLAG_PRIVATE);
}

TEST(TdMemory, APrivateAccessWithoutASlotOrFileIsAMemoryFault)
{
    Host host;
    TdRobot td(host);
    constexpr u64 kNowhere = 0x900000;
    ASSERT_EQ(td.set_attributes(kNowhere, kPageSize, kPrivateAttribute), 0);
    td.give(0, access(Mailbox::load, kNowhere));
    EXPECT_EQ(td.run_once(), -EFAULT);
    expect_memory_fault(td, 0, kNowhere, KVM_MEMORY_EXIT_FLAG_PRIVATE);
    Memory plain(kPageSize);
    ASSERT_EQ(td.set_slot(5, kNowhere, plain.bytes, plain.at), 0); // a slot without guest_memfd
    EXPECT_EQ(td.run_once(), -EFAULT);
    expect_memory_fault(td, 0, kNowhere, KVM_MEMORY_EXIT_FLAG_PRIVATE);
}

TEST(TdMemory, ASlotWhoseFileIsClosedHasNoPrivateMemory)
{
    Host host;
    TdRobot td(host);
    ASSERT_EQ(td.accept(kPage), 0u);
    EXPECT_EQ(host.device->close(td.gmem), 0);
    td.give(0, access(Mailbox::load, kPage));
    EXPECT_EQ(td.run_once(), -EFAULT);
    expect_memory_fault(td, 0, kPage, KVM_MEMORY_EXIT_FLAG_PRIVATE);
}

TEST(TdMemory, AHoleTakesThePageFromARunningTd)
{
    Host host;
    TdRobot td(host, 2);
    ASSERT_EQ(td.accept(kPage), 0u);
    Running vcpu(td, 0, access(Mailbox::hammer, kPage));
    vcpu.wait_for_rounds(1000);
    ASSERT_EQ(host.device->fallocate(td.gmem, kPunch, 0, kPageSize), 0);
    // The next store meets a page that is not accepted, in a TD that asked for no #VE: the end of this TD.
    vcpu.join();
    EXPECT_EQ(vcpu.result, -EIO);
    EXPECT_EQ(td.run_once(1), -EIO);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CHECK_EXTENSION, u64{KVM_CAP_HLT}), -EIO);
}

TEST(TdMemory, AHoleLosesTheContentAndItsEdgesAreKept)
{
    Host host;
    TdRobot td(host);
    for (u64 i = 0; i < 4; ++i) {
        ASSERT_EQ(td.accept(kPage + i * kPageSize), 0u);
        td.store(kPage + i * kPageSize, 100 + i);
    }
    ASSERT_EQ(host.device->fallocate(td.gmem, kPunch, kPageSize, 2 * kPageSize), 0);
    EXPECT_EQ(td.load(kPage), 100u);
    EXPECT_EQ(td.load(kPage + 3 * kPageSize), 103u);
    ASSERT_EQ(td.accept(kPage + kPageSize), 0u);
    EXPECT_EQ(td.load(kPage + kPageSize), 0u);
    EXPECT_EQ(host.device->fallocate(td.gmem, kPunch, 1, kPageSize), -EINVAL);
    EXPECT_EQ(host.device->fallocate(td.gmem, kPunch, 0, 0), -EINVAL);
    EXPECT_EQ(host.device->fallocate(td.gmem, 0, 0, kPageSize), -EOPNOTSUPP);
    EXPECT_EQ(host.device->fallocate(td.gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, 0, kPageSize),
              -EOPNOTSUPP);
    EXPECT_EQ(host.device->fallocate(td.gmem, FALLOC_FL_KEEP_SIZE, 0, 65 * kPageSize), -EINVAL);
    EXPECT_EQ(host.device->fallocate(td.gmem, FALLOC_FL_KEEP_SIZE, 0, kPageSize), 0);
}

TEST(TdMemory, ConvertingAwayFromARunningVcpuLeavesNoStaleAccess)
{
    Host host;
    TdRobot td(host);
    ASSERT_EQ(td.set_attributes(kPage, kPageSize, 0), 0);
    Running vcpu(td, 0, access(Mailbox::hammer, kView + kPage));
    vcpu.wait_for_rounds(1000);
    ASSERT_EQ(td.set_attributes(kPage, kPageSize, kPrivateAttribute), 0);
    const u64 last = td.shared.get<u64>(0); // the ioctl has returned: nobody writes here any more
    vcpu.join();
    EXPECT_EQ(vcpu.result, -EFAULT);
    expect_memory_fault(td, 0, kPage, 0);
    EXPECT_EQ(td.shared.get<u64>(0), last);
    EXPECT_GE(last, 1000u);
}

TEST(TdMemory, ASlotMayBeDeletedWhileAVcpuRunsInIt)
{
    Host host;
    TdRobot td(host);
    Memory first(kPageSize), second(kPageSize);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(5, kGpa, kPageSize, first.at), 0);
    Running vcpu(td, 0, access(Mailbox::hammer, kView + kGpa));
    vcpu.wait_for_rounds(1000);
    ASSERT_EQ(td.set_slot(5, kGpa, 0, first.at), 0);
    const u64 last = first.get<u64>(0);
    vcpu.join();
    EXPECT_EQ(vcpu.result, KVM_EXIT_MMIO); // it has become a device
    EXPECT_EQ(td.runs[0]->mmio.phys_addr, kGpa);
    EXPECT_EQ(first.get<u64>(0), last);
    // A TD keeps its #VE when the slot comes back: KVM leaves the MMIO entry, and no exit asks it again.
    ASSERT_EQ(td.set_slot(5, kGpa, kPageSize, second.at), 0);
    td.mailbox().stop = 1;
    long r = 0;
    while ((r = td.run_once()) == KVM_EXIT_MMIO)
        EXPECT_EQ(td.runs[0]->mmio.phys_addr, kGpa);
    EXPECT_EQ(r, KVM_EXIT_IO);
    EXPECT_EQ(second.get<u64>(0), 0u);
}

TEST(TdMemory, ASlotThatMovesTakesItsMemoryAlong)
{
    Host host;
    TdRobot td(host);
    Memory memory(kPageSize);
    constexpr u64 kFrom = 0x800000, kTo = 0xa00000;
    ASSERT_EQ(td.set_slot(5, kFrom, kPageSize, memory.at), 0);
    td.store(kView + kFrom, 0x77);
    ASSERT_EQ(td.set_slot(5, kTo, kPageSize, memory.at), 0);
    EXPECT_EQ(td.load(kView + kTo), 0x77u);
    td.give(0, access(Mailbox::load, kView + kFrom));
    EXPECT_EQ(td.run_once(), KVM_EXIT_MMIO);
    EXPECT_EQ(td.set_slot(5, kTo | kS, kPageSize, memory.at), -EINVAL);
    EXPECT_EQ(td.set_slot(5, kTo, kPageSize, memory.at, KVM_MEM_READONLY), -EINVAL); // not for a TD
}

TEST(TdMemory, VcpusMoveBetweenProcessorsAndThreads)
{
    Host host;
    TdRobot td(host, 3);
    for (u64 i = 0; i < 3; ++i)
        ASSERT_EQ(td.accept(kPage + i * kPageSize), 0u);
    // vCPU 0 and 1 take turns on this thread and on others; the processor that has one must give it up first.
    for (u64 round = 1; round < 20; ++round) {
        for (unsigned n = 0; n < 3; ++n) {
            std::thread([&, n] { td.store(kPage + n * kPageSize, round, n); }).join();
            EXPECT_EQ(td.load(kPage + n * kPageSize, (n + 1) % 3), round);
        }
        Running a(td, 0, access(Mailbox::hammer, kPage + 0x100));
        Running b(td, 1, access(Mailbox::hammer, kPage + 0x200));
        a.wait_for_rounds(10);
        b.wait_for_rounds(10);
        td.store(kPage + 0x300, round, 2);
        a.stop();
        b.stop();
        EXPECT_EQ(a.result, KVM_EXIT_IO);
        EXPECT_EQ(b.result, KVM_EXIT_IO);
    }
    EXPECT_EQ(td.load(kPage + 0x300), 19u);
}

TEST(TdMemory, SeveralVcpusFaultOnOnePage)
{
    Host host;
    TdRobot td(host, 4);
    Memory memory(64 * kPageSize);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(5, kGpa, memory.bytes, memory.at), 0);
    for (u64 page = 0; page < 64; ++page) {
        std::vector<std::thread> threads;
        for (unsigned n = 0; n < 4; ++n)
            threads.emplace_back([&, n] { td.store(kView + kGpa + page * kPageSize + 8 * n, page + n, n); });
        for (auto& t : threads)
            t.join();
        for (unsigned n = 0; n < 4; ++n)
            EXPECT_EQ(memory.get<u64>(page * kPageSize + 8 * n), page + n);
    }
}

// Faults and changes of memslots and attributes in each other's way: every access lands in the memory that
// the slot has, or is a fault that says so.
TEST(TdMemory, FaultsRaceWithChanges)
{
    Host host;
    TdRobot td(host, 3);
    Memory memory(kPageSize);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(5, kGpa, kPageSize, memory.at), 0);
    ASSERT_EQ(td.set_attributes(kPage, kPageSize, 0), 0);
    const auto endure = [](long r) { return r == -EFAULT; }; // the wrong attribute, just now
    Running a(td, 0, access(Mailbox::hammer, kView + kPage), endure);
    Running b(td, 1, access(Mailbox::hammer, kView + kPage + 64), endure);
    for (int i = 0; i < 100; ++i) {
        ASSERT_EQ(td.set_attributes(kPage, kPageSize, kPrivateAttribute), 0);
        const u64 x = td.shared.get<u64>(0), y = td.shared.get<u64>(64);
        std::this_thread::yield();
        ASSERT_EQ(td.shared.get<u64>(0), x);
        ASSERT_EQ(td.shared.get<u64>(64), y);
        ASSERT_EQ(td.set_attributes(kPage, kPageSize, 0), 0);
        // A memslot that has nothing to do with it comes and goes.
        ASSERT_EQ(td.set_slot(5, kGpa, 0, memory.at), 0);
        ASSERT_EQ(td.set_slot(5, kGpa, kPageSize, memory.at), 0);
        if (i % 8 == 0) {
            a.wait_for_rounds(1);
            b.wait_for_rounds(1);
        }
    }
    a.stop();
    b.stop();
    EXPECT_EQ(a.result, KVM_EXIT_IO);
    EXPECT_EQ(b.result, KVM_EXIT_IO);
}

// A VMM that takes a page away without telling KVM, from a TD that writes there.
TEST(TdMemory, SharedMemoryMayBeLostToTheHost)
{
    Host host;
    TdRobot td(host, 2);
    LosableMemory memory(2);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(5, kGpa, memory.bytes, memory.at), 0);
    td.store(kView + kGpa, 0x77);
    td.store(kView + kGpa + kPageSize, 0x88, 1);
    memory.unmap();
    for (unsigned n = 0; n < 2; ++n) {
        td.give(n, access(Mailbox::load, kView + kGpa + n * kPageSize));
        EXPECT_EQ(td.run_once(n), -EFAULT);
        EXPECT_EQ(td.run_once(n), -EFAULT);
    }
    memory.restore();
    for (unsigned n = 0; n < 2; ++n) {
        EXPECT_EQ(td.run_once(n), KVM_EXIT_IO);
        EXPECT_EQ(td.mailbox(n).rbx, n == 0 ? 0x77u : 0x88u);
    }
    memory.truncate(kPageSize);
    td.give(0, access(Mailbox::copy, kView + kGpa, kView + kGpa + kPageSize));
    EXPECT_EQ(td.run_once(), -EFAULT);
    EXPECT_EQ(td.load(kView + kGpa, 1), 0x77u); // the page before the end is there
    memory.truncate(2 * kPageSize);
    Running copies(td, 0, access(Mailbox::copy, kView + kGpa, kView + kGpa + kPageSize));
    copies.wait_for_rounds(100);
    copies.stop();
    EXPECT_EQ(copies.result, KVM_EXIT_IO);
    EXPECT_EQ(memory.get<u64>(kPageSize), 0x77u);
}

TEST(TdMemory, SharedMemoryIsLostUnderRunningVcpus)
{
    Host host;
    TdRobot td(host, 2);
    LosableMemory memory(1);
    constexpr u64 kGpa = 0x800000;
    ASSERT_EQ(td.set_slot(5, kGpa, memory.bytes, memory.at), 0);
    std::atomic<u64> refused = 0;
    const auto endure = [&](long r) { return r == -EFAULT && ++refused; };
    Running a(td, 0, access(Mailbox::hammer, kView + kGpa), endure);
    Running b(td, 1, access(Mailbox::hammer, kView + kGpa + 64), endure);
    for (u64 round = 0; round < 20; ++round) {
        const u64 before = refused;
        a.wait_for_rounds(10);
        b.wait_for_rounds(10);
        memory.unmap();
        while (refused == before)
            std::this_thread::yield();
        memory.restore();
    }
    a.stop();
    b.stop();
    EXPECT_EQ(a.result, KVM_EXIT_IO);
    EXPECT_EQ(b.result, KVM_EXIT_IO);
}

TEST(TdMemory, PreFaultingMapsWhatTheAttributeSays)
{
    Host host;
    TdRobot td(host);
    const auto pre_fault = [&](kvm_pre_fault_memory& range) {
        return host.ioctl(td.vcpus[0], KVM_PRE_FAULT_MEMORY, &range);
    };
    kvm_pre_fault_memory range{.gpa = kPage, .size = 4 * kPageSize, .flags = 0, .padding = {}};
    ASSERT_EQ(pre_fault(range), 0);
    EXPECT_EQ(range.gpa, kPage + 4 * kPageSize);
    EXPECT_EQ(range.size, 0u);
    ASSERT_EQ(td.accept(kPage), 0u);
    td.store(kPage, 1);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 0u); // neither to accept nor to write
    ASSERT_EQ(td.set_attributes(kPage + kPageSize, kPageSize, 0), 0);
    range = {.gpa = kPage + kPageSize, .size = kPageSize, .flags = 0, .padding = {}};
    ASSERT_EQ(pre_fault(range), 0);
    td.store(kView + kPage + kPageSize, 2);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 0u);
    // It stops at the end of the slot, and says how far it came.
    range = {.gpa = kPage + 62 * kPageSize, .size = 4 * kPageSize, .flags = 0, .padding = {}};
    ASSERT_EQ(pre_fault(range), 0);
    EXPECT_EQ(range.gpa, kPage + 64 * kPageSize);
    EXPECT_EQ(range.size, 2 * kPageSize);
    EXPECT_EQ(pre_fault(range), -ENOENT);
    const struct {
        u64 gpa, size, flags;
        long result;
    } refused[] = {
        {kPage, 0, 0, -EINVAL},          {kPage + 1, kPageSize, 0, -EINVAL},
        {kPage, 1, 0, -EINVAL},          {kPage, kPageSize, 1, -EINVAL},
        {~u64{0xfff}, 8192, 0, -EINVAL}, {kPage | kS, kPageSize, 0, -EINVAL},
    };
    for (const auto& r : refused) {
        range = {.gpa = r.gpa, .size = r.size, .flags = r.flags, .padding = {}};
        EXPECT_EQ(pre_fault(range), r.result) << std::hex << r.gpa;
    }
    EXPECT_EQ(host.ioctl(td.vcpus[0], KVM_PRE_FAULT_MEMORY, u64{8}), -EFAULT);
}

} // namespace
} // namespace seamless::abi
