// SPDX-License-Identifier: Apache-2.0
// A fault that loses its race: between the look at the memslots and the edit of the tables KVM waits for the
// VMM's page, and the VMM changes the slots before it gives that page. What the fault has seen is void; the
// guest faults again, and finds things as they are now.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <thread>

#include "abi/plain_vm.h"
#include "abi/td_robot.h"

namespace seamless::abi {
namespace {

constexpr u64 kGpa = 0x800000;
constexpr u32 kSlot = 5;

// A page that is not there until somebody touches it: then `change` runs, and the page is given, empty.
class AwaitedPage {
  public:
    AwaitedPage() : fd_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)))
    {
        uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
        uffdio_register range{
            .range = {memory.address(), memory.bytes}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
        // Without MADV_POPULATE_WRITE KVM does not wait for a page.
        possible = fd_ >= 0 && madvise(probe_.at, probe_.bytes, kPopulateWrite) == 0 &&
                   ::ioctl(fd_, UFFDIO_API, &api) == 0 && ::ioctl(fd_, UFFDIO_REGISTER, &range) == 0;
    }
    ~AwaitedPage()
    {
        if (thread_.joinable())
            thread_.join();
        ::close(fd_);
    }
    AwaitedPage(const AwaitedPage&) = delete;
    AwaitedPage& operator=(const AwaitedPage&) = delete;

    enum class Then { given, taken_away };
    void when_touched(std::function<void()> change, Then then = Then::given)
    {
        thread_ = std::thread([this, change = std::move(change), then] {
            uffd_msg message;
            ASSERT_EQ(::read(fd_, &message, sizeof message), static_cast<ssize_t>(sizeof message));
            change();
            uffdio_range range{memory.address(), memory.bytes};
            if (then == Then::taken_away) {
                ASSERT_EQ(::mprotect(memory.at, memory.bytes, PROT_NONE), 0);
                ASSERT_EQ(::ioctl(fd_, UFFDIO_WAKE, &range), 0);
                return;
            }
            uffdio_zeropage zero{.range = range, .mode = 0, .zeropage = 0};
            ASSERT_EQ(::ioctl(fd_, UFFDIO_ZEROPAGE, &zero), 0);
        });
    }
    void join() { thread_.join(); }

    Memory memory{kPageSize};
    bool possible = false;

  private:
    static constexpr int kPopulateWrite = 23;
    Memory probe_{kPageSize};
    int fd_;
    std::thread thread_;
};

class FaultRetry : public testing::Test {
  protected:
    void SetUp() override
    {
        if (!page.possible)
            GTEST_SKIP() << "this host has no userfaultfd for us";
    }
    [[nodiscard]] std::size_t faults() const
    {
        std::size_t n = 0;
        for (const auto& r : host.trace.of(Event::kvm_page_fault))
            n += (r.values[0].number & ~TdRobot::kShared) == kGpa;
        return n;
    }
    Host host;
    AwaitedPage page;
};

class PlainFaultRetry : public FaultRetry {
  protected:
    void SetUp() override
    {
        FaultRetry::SetUp();
        if (page.possible)
            add(page.memory);
    }
    void add(const Memory& memory) { set(kSlot, kGpa, memory, kPageSize); }
    void remove() { set(kSlot, kGpa, page.memory, 0); }
    void set(u32 slot, u64 gpa, const Memory& memory, u64 bytes)
    {
        kvm_userspace_memory_region region{.slot = slot,
                                           .flags = 0,
                                           .guest_phys_addr = gpa,
                                           .memory_size = bytes,
                                           .userspace_addr = memory.address()};
        EXPECT_EQ(host.ioctl(vm.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    }
    u32 store()
    {
        vm.regs.rax = 0x77;
        vm.regs.rbx = kGpa;
        const u32 exit = vm.start({0x89, 0x03}); // mov %eax, (%ebx)
        page.join();
        return exit;
    }
    PlainVm vm{host};
};

TEST_F(PlainFaultRetry, UndisturbedThereIsOneFault)
{
    page.when_touched([] {});
    EXPECT_EQ(store(), KVM_EXIT_HLT);
    EXPECT_EQ(faults(), 1u);
    EXPECT_EQ(page.memory.get<u32>(0), 0x77u);
}

TEST_F(PlainFaultRetry, TheSlotHasGone)
{
    page.when_touched([this] { remove(); });
    EXPECT_EQ(store(), KVM_EXIT_MMIO);
    vm.expect_mmio(true, kGpa, 4);
    EXPECT_EQ(faults(), 2u);
    EXPECT_EQ(page.memory.get<u32>(0), 0u);
}

TEST_F(PlainFaultRetry, TheSlotHasOtherMemory)
{
    Memory other(kPageSize);
    page.when_touched([&] {
        remove();
        add(other);
    });
    EXPECT_EQ(store(), KVM_EXIT_HLT);
    EXPECT_EQ(faults(), 2u);
    EXPECT_EQ(page.memory.get<u32>(0), 0u);
    EXPECT_EQ(other.get<u32>(0), 0x77u);
}

TEST_F(PlainFaultRetry, AnotherSlotHasGone)
{
    Memory other(kPageSize);
    set(kSlot + 1, kGpa + 16 * kPageSize, other, kPageSize);
    page.when_touched([&] { set(kSlot + 1, kGpa + 16 * kPageSize, other, 0); });
    EXPECT_EQ(store(), KVM_EXIT_HLT);
    EXPECT_EQ(faults(), 2u); // KVM's sequence is one for the whole VM
    EXPECT_EQ(page.memory.get<u32>(0), 0x77u);
}

TEST_F(PlainFaultRetry, ThePageIsRefusedForASlotThatHasGone)
{
    page.when_touched([this] { remove(); }, AwaitedPage::Then::taken_away);
    EXPECT_EQ(store(), KVM_EXIT_MMIO); // no EFAULT: that page is nobody's business any more
    EXPECT_EQ(faults(), 2u);
}

TEST_F(FaultRetry, TheAttributeOfATdsPageHasChanged)
{
    TdRobot td(host);
    ASSERT_EQ(td.set_slot(kSlot, kGpa, kPageSize, page.memory.at), 0);
    page.when_touched(
        [&] { EXPECT_EQ(td.set_attributes(kGpa, kPageSize, KVM_MEMORY_ATTRIBUTE_PRIVATE), 0); });
    Mailbox order{};
    order.order = Mailbox::store;
    order.rdi = TdRobot::kSharedView + kGpa;
    order.rbx = 0x77;
    td.give(0, order);
    EXPECT_EQ(td.run_once(), -EFAULT);
    page.join();
    EXPECT_EQ(td.runs[0]->exit_reason, KVM_EXIT_MEMORY_FAULT);
    EXPECT_EQ(faults(), 2u);
    EXPECT_EQ(page.memory.get<u64>(0), 0u);
    ASSERT_EQ(td.set_attributes(kGpa, kPageSize, 0), 0);
    EXPECT_EQ(td.run_once(), KVM_EXIT_IO);
    EXPECT_EQ(page.memory.get<u64>(0), 0x77u);
}

} // namespace
} // namespace seamless::abi
