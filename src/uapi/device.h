// SPDX-License-Identifier: Apache-2.0
// /dev/kvm as a library: file descriptors, ioctls and mmap with a kernel's results. Everything returns -errno
// on failure; descriptors are real ones, so their numbers are unique in the process.
#pragma once

#include <memory>

#include "base/bits.h"

namespace seamless::platform {
class Platform;
}

namespace seamless::uapi {

class Device {
  public:
    explicit Device(platform::Platform& platform);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // open("/dev/kvm").
    [[nodiscard]] int open();
    // True if `fd` is one of ours: system, VM, vCPU or guest_memfd.
    [[nodiscard]] bool owns(int fd) const;
    // `arg` as a kernel takes it: a pointer or the number itself.
    [[nodiscard]] long ioctl(int fd, unsigned long request, void* arg);
    // A vCPU's pages, from page `offset` / 4096 on. The address, or -errno cast to a pointer as a system call
    // gives it (see failed()). The pages live as long as the vCPU; munmap() only gives this view back.
    [[nodiscard]] void* mmap(int fd, u64 size, u64 offset = 0);
    [[nodiscard]] int munmap(void* address, u64 size);
    [[nodiscard]] static bool failed(const void* address)
    {
        return reinterpret_cast<u64>(address) > ~u64{4095};
    }
    // guest_memfd: KEEP_SIZE, with or without PUNCH_HOLE.
    [[nodiscard]] int fallocate(int fd, int mode, u64 offset, u64 bytes);
    [[nodiscard]] int close(int fd);

    // Async-signal-safe. A kernel notices signals by itself; this one is told, by the handler of the signal
    // that interrupts a vCPU, on the thread that may be in KVM_RUN: KVM_RUN then returns -EINTR.
    void signal_arrived();

  private:
    struct Files;
    platform::Platform& platform_;
    std::unique_ptr<Files> files_;
};

} // namespace seamless::uapi
