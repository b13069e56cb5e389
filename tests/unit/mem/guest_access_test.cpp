// SPDX-License-Identifier: Apache-2.0
// Comparisons with memory that may be gone. Accesses of vCPUs to such memory are tested with their processor.
#include <csignal>
#include <gtest/gtest.h>
#include <numeric>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include "mem/guest_access.h"

namespace seamless {
namespace {

// Two pages of which the second one is gone; host faults are recovered from, as the engine's handler does.
class TryEqual : public testing::Test {
  protected:
    TryEqual()
    {
        pages_ = static_cast<u8*>(
            mmap(nullptr, 2 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        std::iota(pages_, pages_ + kPageSize, u8{0});
        munmap(pages_ + kPageSize, kPageSize);
        struct sigaction ours = {};
        ours.sa_sigaction = [](int, siginfo_t*, void* context) {
            auto& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
            u64 at = static_cast<u64>(rip);
            if (!mem::recover_access(at))
                std::abort();
            rip = static_cast<greg_t>(at);
        };
        ours.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &ours, &before_);
    }
    ~TryEqual() override
    {
        sigaction(SIGSEGV, &before_, nullptr);
        munmap(pages_, kPageSize);
    }

    [[nodiscard]] bool equal(std::size_t offset, std::span<const u8> bytes) const
    {
        return mem::try_equal(mem::hpa_of_ptr(pages_ + offset), bytes);
    }
    [[nodiscard]] std::vector<u8> held(std::size_t offset, std::size_t size) const
    {
        return {pages_ + offset, pages_ + offset + size};
    }

    u8* pages_;
    struct sigaction before_ {};
};

TEST_F(TryEqual, SeesADifferenceInAnyByteOfAnyLength)
{
    for (std::size_t size = 0; size <= 200; ++size) {
        std::vector<u8> bytes = held(3, size);
        EXPECT_TRUE(equal(3, bytes)) << size;
        for (std::size_t i = 0; i < size; ++i) {
            bytes[i] ^= 0x10;
            EXPECT_FALSE(equal(3, bytes)) << size << " " << i;
            bytes[i] ^= 0x10;
        }
    }
}

TEST_F(TryEqual, ComparesAWholePage)
{
    std::vector<u8> bytes = held(0, kPageSize);
    EXPECT_TRUE(equal(0, bytes));
    bytes.back() ^= 1;
    EXPECT_FALSE(equal(0, bytes));
}

TEST_F(TryEqual, MemoryThatIsGoneIsEqualToNothing)
{
    for (const std::size_t size : {1, 7, 8, 15, 16, 64, 100, 300})
        for (std::size_t there = 0; there < size; ++there) {
            std::vector<u8> bytes = held(kPageSize - there, there);
            EXPECT_TRUE(equal(kPageSize - there, bytes));
            bytes.resize(size);
            EXPECT_FALSE(equal(kPageSize - there, bytes)) << size << " " << there;
        }
}

} // namespace
} // namespace seamless
