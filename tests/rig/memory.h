// SPDX-License-Identifier: Apache-2.0
// Memory of a VMM, for memslots.
#pragma once

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"

namespace seamless::rig {

// What is mapped, whoever maps it.
struct MappedBytes {
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
    [[nodiscard]] u64 address() const { return reinterpret_cast<u64>(at); }

    u64 bytes = 0;
    u8* at = nullptr;
};

struct Memory : MappedBytes {
    explicit Memory(u64 size)
        : MappedBytes{size, static_cast<u8*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))}
    {}
    ~Memory() { ::munmap(at, bytes); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
};

// A memfd that is mapped at one place: it can be taken away and brought back with its content.
class LosableMemory : public MappedBytes {
  public:
    explicit LosableMemory(u64 pages) : fd_(memfd_create("losable", MFD_CLOEXEC))
    {
        bytes = pages * kPageSize;
        require(ftruncate(fd_, static_cast<off_t>(bytes)) == 0);
        // Not at the edge of other mappings: nothing else may come to lie in a hole.
        void* room = ::mmap(nullptr, bytes + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        require(room != MAP_FAILED);
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

    void unmap() { require(::munmap(at, bytes) == 0); }
    void unmap(u64 first, u64 pages) { require(::munmap(at + first * kPageSize, pages * kPageSize) == 0); }
    void forbid_writes() { require(::mprotect(at, bytes, PROT_READ) == 0); }
    // Maps the file where it was.
    void restore()
    {
        require(::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_, 0) == at);
    }
    void truncate(u64 to) { require(ftruncate(fd_, static_cast<off_t>(to)) == 0); }

  private:
    static constexpr u64 kGuard = 16 * kPageSize;
    // Without its memory a test can say nothing at all.
    static void require(bool done)
    {
        if (!done)
            std::abort();
    }
    u8* room_ = nullptr;
    int fd_;
};

} // namespace seamless::rig
