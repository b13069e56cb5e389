// SPDX-License-Identifier: Apache-2.0
// Two to four vCPUs write all the time while the VMM changes what lies behind their addresses. Each store
// goes to exactly one place: behind the ioctl that takes a place away nobody writes there any more, and the
// first store that finds it gone is the one that follows the last that did not.
#include <linux/falloc.h>
#include <mutex>

#include "abi/plain_vm.h"
#include "abi/running.h"

namespace seamless::abi {
namespace {

constexpr u64 kPage = TdRobot::kPrivate, kS = TdRobot::kShared, kView = TdRobot::kSharedView;
constexpr u64 kAt = 0x400000, kElsewhere = 0x800000;
constexpr u32 kSlot = 5;

u32 peek(const Memory& memory, u64 offset)
{
    return __atomic_load_n(reinterpret_cast<const u32*>(memory.at + offset), __ATOMIC_SEQ_CST);
}

// A plain VM with several vCPUs. Number n stores 1, 2, 3... at kAt + 8 n, and so on in the pages that follow,
// until it is told to stop. What it stores into a device is kept.
class Writers {
  public:
    // `mask`: what of an address lies in the pages.
    explicit Writers(unsigned vcpus, u32 mask = kAt) : count(vcpus)
    {
        constexpr u8 code[] = {
            0x40,                               // 1: inc %eax
            0x89, 0x04, 0x1f,                   //    mov %eax, (%edi, %ebx)
            0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, //    add $0x1000, %edi
            0x21, 0xcf,                         //    and %ecx, %edi
            0xff, 0x06,                         //    incl (%esi)
            0x83, 0x7d, 0x00, 0x00,             //    cmpl $0, (%ebp)
            0x74, 0xec,                         //    je 1b
            0xf4,
        };
        std::copy(std::begin(code), std::end(code), vm.memory.at + kCode);
        vm.regs.rdi = kAt;
        vm.regs.rcx = mask;
        vm.regs.rbp = kStop;
        for (unsigned n = 0; n < count; ++n)
            add(n);
    }
    ~Writers() { stop(); }
    Writers(const Writers&) = delete;
    Writers& operator=(const Writers&) = delete;

    void start()
    {
        for (unsigned n = 0; n < count; ++n)
            threads_.emplace_back([this, n] { write(n); });
    }
    void stop()
    {
        __atomic_store_n(reinterpret_cast<u32*>(vm.memory.at + kStop), 1, __ATOMIC_SEQ_CST);
        for (auto& thread : threads_)
            thread.join();
        threads_.clear();
    }
    void wait_for_rounds(u32 more)
    {
        for (unsigned n = 0; n < count; ++n) {
            const u32 goal = rounds(n) + more;
            while (rounds(n) < goal)
                std::this_thread::yield();
        }
    }
    long set_slot(u64 gpa, const Memory& backing, u64 bytes, u32 flags = 0)
    {
        kvm_userspace_memory_region region{.slot = kSlot,
                                           .flags = flags,
                                           .guest_phys_addr = gpa,
                                           .memory_size = bytes,
                                           .userspace_addr = backing.address()};
        return host.ioctl(vm.vm, KVM_SET_USER_MEMORY_REGION, &region);
    }
    // What number n stored into a device since the last call.
    std::vector<u32> device(unsigned n)
    {
        const std::lock_guard lock(mutex_);
        return std::exchange(device_[n], {});
    }

    const unsigned count;
    Host host;
    PlainVm vm{host};

  private:
    static constexpr u64 kRounds = 0x5000, kStop = 0x5800;

    [[nodiscard]] u32 rounds(unsigned n) const { return peek(vm.memory, kRounds + 64 * n); }
    void add(unsigned n)
    {
        if (n == 0) {
            vcpus_.push_back(vm.vcpu);
            runs_.push_back(vm.run);
        } else {
            vcpus_.push_back(static_cast<int>(host.ioctl(vm.vm, KVM_CREATE_VCPU, u64{n})));
            runs_.push_back(static_cast<kvm_run*>(host.device->mmap(vcpus_[n], kVcpuMmapSize)));
        }
        vm.regs.rbx = 8 * n;
        vm.regs.rsi = kRounds + 64 * n;
        EXPECT_EQ(host.ioctl(vcpus_[n], KVM_SET_SREGS, &vm.sregs), 0);
        EXPECT_EQ(host.ioctl(vcpus_[n], KVM_SET_REGS, &vm.regs), 0);
        device_.emplace_back();
    }
    void write(unsigned n)
    {
        const kvm_run& run = *runs_[n];
        for (;;) {
            ASSERT_EQ(host.ioctl(vcpus_[n], KVM_RUN), 0);
            if (run.exit_reason == KVM_EXIT_HLT)
                return;
            ASSERT_EQ(run.exit_reason, KVM_EXIT_MMIO);
            u32 value = 0;
            std::memcpy(&value, run.mmio.data, sizeof value);
            const std::lock_guard lock(mutex_);
            device_[n].push_back(value);
        }
    }

    std::vector<int> vcpus_;
    std::vector<kvm_run*> runs_;
    std::vector<std::vector<u32>> device_;
    std::vector<std::thread> threads_;
    std::mutex mutex_;
};

// Number n has written in the slot again, so that what it stored into a device before is known.
void wait_for_memory(const Memory& memory, unsigned n, u32 before)
{
    while (peek(memory, 8 * n) == before)
        std::this_thread::yield();
}

void expect_follow(const std::vector<u32>& values, u32 last)
{
    for (const u32 value : values)
        ASSERT_EQ(value, ++last);
}

TEST(Hammer, ASlotGetsOtherMemoryUnderWriters)
{
    Memory memory[] = {Memory(kPageSize), Memory(kPageSize)}; // outlives the writers
    Writers writers(3);
    ASSERT_EQ(writers.set_slot(kAt, memory[0], kPageSize), 0);
    writers.start();
    for (unsigned round = 0; round < 60; ++round) {
        const Memory &old = memory[round % 2], &next = memory[1 - round % 2];
        writers.wait_for_rounds(20);
        for (unsigned n = 0; n < writers.count; ++n)
            (void)writers.device(n);
        std::memset(next.at, 0, kPageSize);
        ASSERT_EQ(writers.set_slot(kAt, old, 0), 0);
        const std::vector<u8> last(old.at, old.at + kPageSize);
        if (round % 3 != 0)
            writers.wait_for_rounds(1); // else the gap may be too short for anybody to notice
        ASSERT_EQ(writers.set_slot(kAt, next, kPageSize), 0);
        for (unsigned n = 0; n < writers.count; ++n) {
            wait_for_memory(next, n, 0);
            expect_follow(writers.device(n), peek(old, 8 * n));
        }
        ASSERT_EQ(std::memcmp(old.at, last.data(), kPageSize), 0)
            << "written behind the ioctl, round " << round;
    }
}

TEST(Hammer, ASlotMovesAwayAndBackUnderWriters)
{
    Memory memory(kPageSize);
    Writers writers(2);
    ASSERT_EQ(writers.set_slot(kAt, memory, kPageSize), 0);
    writers.start();
    for (unsigned round = 0; round < 60; ++round) {
        writers.wait_for_rounds(20);
        for (unsigned n = 0; n < writers.count; ++n)
            (void)writers.device(n);
        ASSERT_EQ(writers.set_slot(kElsewhere, memory, kPageSize), 0);
        const std::vector<u8> last(memory.at, memory.at + kPageSize);
        writers.wait_for_rounds(1);
        ASSERT_EQ(std::memcmp(memory.at, last.data(), kPageSize), 0)
            << "written behind the ioctl, round " << round;
        u32 before[2];
        for (unsigned n = 0; n < writers.count; ++n)
            before[n] = peek(memory, 8 * n);
        ASSERT_EQ(writers.set_slot(kAt, memory, kPageSize), 0);
        for (unsigned n = 0; n < writers.count; ++n) {
            wait_for_memory(memory, n, before[n]);
            const std::vector<u32> gone = writers.device(n);
            EXPECT_FALSE(gone.empty());
            expect_follow(gone, before[n]);
        }
    }
}

// Every exit gives the processor to a thread that waits for one.
TEST(Hammer, MoreVcpusThanProcessorsTakeTurns)
{
    Writers writers(9);
    ASSERT_LT(writers.host.platform->package().count(), writers.count);
    writers.start();
    writers.wait_for_rounds(50);
    writers.stop();
    for (unsigned n = 0; n < writers.count; ++n) {
        const std::vector<u32> values = writers.device(n);
        EXPECT_GE(values.size(), 50u);
        expect_follow(values, 0);
    }
}

// Copies the pages that the log names, as a migration does; at the end nothing may be missing.
class Migration {
  public:
    Migration(Host& host, int vm, u32 slot, const Memory& from, bool manual)
        : host_(host), vm_(vm), slot_(slot), from_(from), manual_(manual), copy_(from.bytes)
    {}
    void round()
    {
        u64 words[4] = {};
        kvm_dirty_log get{.slot = slot_, .padding = 0, .dirty_bitmap = reinterpret_cast<u64>(words)};
        ASSERT_EQ(host_.ioctl(vm_, KVM_GET_DIRTY_LOG, &get), 0);
        if (manual_) {
            kvm_clear_dirty_log clear{.slot = slot_,
                                      .num_pages = static_cast<u32>(pages()),
                                      .first_page = 0,
                                      .dirty_bitmap = reinterpret_cast<u64>(words)};
            ASSERT_EQ(host_.ioctl(vm_, KVM_CLEAR_DIRTY_LOG, &clear), 0);
        }
        for (u64 page = 0; page < pages(); ++page)
            if (words[page / 64] >> page % 64 & 1)
                copy(page * kPageSize);
    }
    void expect_complete() const { EXPECT_EQ(std::memcmp(copy_.at, from_.at, from_.bytes), 0); }

  private:
    [[nodiscard]] u64 pages() const { return from_.bytes / kPageSize; }
    // The guest writes meanwhile: what it writes behind the copy is in the next log.
    void copy(u64 offset)
    {
        for (u64 i = 0; i < kPageSize; i += 4)
            copy_.put<u32>(offset + i, peek(from_, offset + i));
    }
    Host& host_;
    int vm_;
    u32 slot_;
    const Memory& from_;
    bool manual_;
    Memory copy_;
};

TEST(Hammer, TheDirtyLogMissesNoStore)
{
    for (const bool manual : {false, true}) {
        constexpr u64 kPages = 32;
        Memory memory(kPages * kPageSize);
        Writers writers(4, kAt | (kPages - 1) * kPageSize);
        if (manual) {
            kvm_enable_cap cap{};
            cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
            cap.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
            ASSERT_EQ(writers.host.ioctl(writers.vm.vm, KVM_ENABLE_CAP, &cap), 0);
        }
        ASSERT_EQ(writers.set_slot(kAt, memory, memory.bytes, KVM_MEM_LOG_DIRTY_PAGES), 0);
        writers.start();
        Migration migration(writers.host, writers.vm.vm, kSlot, memory, manual);
        for (unsigned round = 0; round < 40; ++round) {
            writers.wait_for_rounds(round);
            migration.round();
        }
        writers.stop();
        migration.round();
        migration.expect_complete();
    }
}

TEST(TdHammer, TheDirtyLogOfSharedMemoryMissesNoStore)
{
    Host host;
    TdRobot td(host, 3);
    Memory memory(4 * kPageSize);
    ASSERT_EQ(td.set_slot(kSlot, kElsewhere, memory.bytes, memory.at, KVM_MEM_LOG_DIRTY_PAGES), 0);
    Migration migration(host, td.vm, kSlot, memory, false);
    Running a(td, 0, access(Mailbox::hammer, kView + kElsewhere));
    Running b(td, 1, access(Mailbox::hammer, kView + kElsewhere + 64));
    Running c(td, 2, access(Mailbox::hammer, kView + kElsewhere + 2 * kPageSize));
    for (unsigned round = 0; round < 60; ++round) {
        for (Running* writer : {&a, &b, &c})
            writer->wait_for_rounds(round);
        migration.round();
    }
    for (Running* writer : {&a, &b, &c})
        writer->stop();
    migration.round();
    migration.expect_complete();
    EXPECT_EQ(memory.get<u64>(0), td.mailbox(0).rbx);
    EXPECT_EQ(memory.get<u64>(64), td.mailbox(1).rbx);
    EXPECT_EQ(memory.get<u64>(2 * kPageSize), td.mailbox(2).rbx);
}

// A TD's slot becomes a device for good once it has been touched in the gap, so each round has a slot of its
// own.
TEST(TdHammer, TheStoreBehindTheLastInASlotIsTheFirstInTheDevice)
{
    Host host;
    TdRobot td(host, 2);
    Memory memory(kPageSize);
    for (u64 round = 0; round < 12; ++round) {
        const u64 gpa = kElsewhere + round * kPageSize;
        ASSERT_EQ(td.set_slot(kSlot, gpa, kPageSize, memory.at), 0);
        Running a(td, 0, access(Mailbox::hammer, kView + gpa));
        Running b(td, 1, access(Mailbox::hammer, kView + gpa + 64));
        a.wait_for_rounds(100);
        b.wait_for_rounds(100);
        ASSERT_EQ(td.set_slot(kSlot, gpa, 0, memory.at), 0);
        const u64 last[] = {memory.get<u64>(0), memory.get<u64>(64)};
        for (unsigned n = 0; n < 2; ++n) {
            (n == 0 ? a : b).join();
            ASSERT_EQ(td.runs[n]->exit_reason, KVM_EXIT_MMIO);
            u64 value = 0;
            std::memcpy(&value, td.runs[n]->mmio.data, sizeof value);
            EXPECT_EQ(value, last[n] + 1);
            EXPECT_EQ(memory.get<u64>(64 * n), last[n]);
            td.mailbox(n).stop = 1;
            long r = 0;
            while ((r = td.run_once(n)) == KVM_EXIT_MMIO) {
            }
            ASSERT_EQ(r, KVM_EXIT_IO);
        }
    }
}

// The guest converts a page to and fro while two of its vCPUs write the shared one all the time.
TEST(TdHammer, MapGpaUnderWriters)
{
    Host host;
    TdRobot td(host, 3);
    constexpr u64 kMapGpa = 0x10001;
    u64 frozen[2] = {};
    const auto convert = [&](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_HYPERCALL);
        const bool to_private = run.hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
        EXPECT_EQ(td.set_attributes(run.hypercall.args[0], kPageSize,
                                    to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0),
                  0);
        if (to_private)
            for (u64 n = 0; n < 2; ++n)
                frozen[n] = td.shared.get<u64>(64 * n);
        return run.exit_reason == KVM_EXIT_HYPERCALL;
    };
    ASSERT_EQ(td.set_attributes(kPage, kPageSize, 0), 0);
    const auto endure = [](long r) { return r == -EFAULT; }; // private, just now
    Running a(td, 1, access(Mailbox::hammer, kView + kPage), endure);
    Running b(td, 2, access(Mailbox::hammer, kView + kPage + 64), endure);
    for (u64 round = 0; round < 25; ++round) {
        a.wait_for_rounds(20);
        b.wait_for_rounds(20);
        ASSERT_EQ(td.vmcall(kMapGpa, kPage, kPageSize, 0, 0, convert).r10, 0u);
        ASSERT_EQ(td.accept(kPage), 0u);
        EXPECT_EQ(td.load(kPage), 0u) << "what the TD had there before, or what is shared";
        td.store(kPage, ~round);
        td.store(kPage + 64, round);
        EXPECT_EQ(td.load(kPage), ~round);
        EXPECT_EQ(td.load(kPage + 64), round);
        for (u64 n = 0; n < 2; ++n)
            ASSERT_EQ(td.shared.get<u64>(64 * n), frozen[n]) << "written behind the conversion";
        ASSERT_EQ(td.vmcall(kMapGpa, kPage | kS, kPageSize, 0, 0, convert).r10, 0u);
    }
    a.stop();
    b.stop();
    EXPECT_EQ(td.shared.get<u64>(0), td.mailbox(1).rbx);
    EXPECT_EQ(td.shared.get<u64>(64), td.mailbox(2).rbx);
}

// Holes in the file of a TD, next to pages that two of its vCPUs write.
TEST(TdHammer, HolesBesideWriters)
{
    Host host;
    TdRobot td(host, 3);
    constexpr u64 kHole = kPage + kPageSize;
    for (u64 page = 0; page < 3; ++page)
        ASSERT_EQ(td.accept(kPage + page * kPageSize), 0u);
    Running a(td, 1, access(Mailbox::hammer, kPage));
    Running b(td, 2, access(Mailbox::hammer, kPage + 2 * kPageSize));
    for (u64 round = 1; round <= 25; ++round) {
        a.wait_for_rounds(20);
        b.wait_for_rounds(20);
        td.store(kHole, round);
        EXPECT_EQ(td.load(kHole), round);
        ASSERT_EQ(
            host.device->fallocate(td.gmem, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, kPageSize, kPageSize),
            0);
        ASSERT_EQ(td.accept(kHole), 0u);
        EXPECT_EQ(td.load(kHole), 0u) << "the page from before the hole";
    }
    const u64 rounds[] = {td.mailbox(1).rounds, td.mailbox(2).rounds};
    a.stop();
    b.stop();
    EXPECT_EQ(td.load(kPage), td.mailbox(1).rbx);
    EXPECT_EQ(td.load(kPage + 2 * kPageSize), td.mailbox(2).rbx);
    EXPECT_GE(td.mailbox(1).rbx, rounds[0]);
    EXPECT_GE(td.mailbox(2).rbx, rounds[1]);
}

} // namespace
} // namespace seamless::abi
