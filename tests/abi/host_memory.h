// SPDX-License-Identifier: Apache-2.0
// Memory of a VMM that it can take away and bring back, with its content: a memfd that is mapped at one
// place.
#pragma once

#include <unistd.h>

#include "abi/host.h"

namespace seamless::abi {

class LosableMemory {
  public:
    explicit LosableMemory(u64 pages) : bytes(pages * kPageSize), fd_(memfd_create("losable", MFD_CLOEXEC))
    {
        EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes)), 0);
        // Not at the edge of other mappings: nothing else may come to lie in a hole.
        void* room = ::mmap(nullptr, bytes + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT_NE(room, MAP_FAILED);
        room_ = static_cast<u8*>(room);
        at = room_ + kGuard;
        restore();
    }
    ~LosableMemory()
    {
        ::munmap(room_, bytes + 2 * kGuard);
        close(fd_);
    }
    LosableMemory(const LosableMemory&) = delete;
    LosableMemory& operator=(const LosableMemory&) = delete;

    void unmap(u64 first = 0, u64 pages = ~u64{0})
    {
        EXPECT_EQ(::munmap(at + first * kPageSize, std::min(pages, bytes / kPageSize - first) * kPageSize),
                  0);
    }
    void forbid_writes() { EXPECT_EQ(::mprotect(at, bytes, PROT_READ), 0); }
    // Maps the file where it was.
    void restore()
    {
        EXPECT_EQ(::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_, 0), at);
    }
    void truncate(u64 to) { EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(to)), 0); }
    template <typename T>
    [[nodiscard]] T get(u64 offset) const
    {
        T value;
        std::memcpy(&value, at + offset, sizeof value);
        return value;
    }
    template <typename T>
    void put(u64 offset, T value)
    {
        std::memcpy(at + offset, &value, sizeof value);
    }

    u64 bytes;
    u8* at = nullptr;

  private:
    static constexpr u64 kGuard = 16 * kPageSize;
    u8* room_ = nullptr;
    int fd_;
};

} // namespace seamless::abi
