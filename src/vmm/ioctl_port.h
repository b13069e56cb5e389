// SPDX-License-Identifier: Apache-2.0
// The port through which the VMM speaks to a KVM device. Calls return what a system call returns, with -errno
// for failure; nothing here knows which KVM answers.
#pragma once

#include "base/bits.h"

namespace seamless::vmm {

class IoctlPort {
  public:
    virtual ~IoctlPort() = default;

    // open("/dev/kvm", O_RDWR).
    [[nodiscard]] virtual int open_kvm() = 0;
    // `arg` is a pointer, or a number cast to one where the request takes a number.
    [[nodiscard]] virtual int ioctl(int fd, unsigned long request, void* arg) = 0;
    // Maps the pages of a vCPU; nullptr on failure.
    [[nodiscard]] virtual void* mmap(int fd, u64 size) = 0;
    virtual void munmap(void* address, u64 size) = 0;
    // For guest_memfds: `mode` as in fallocate(2).
    [[nodiscard]] virtual int fallocate(int fd, int mode, u64 offset, u64 bytes) = 0;
    virtual void close(int fd) = 0;

    // Async-signal-safe, called by the VMM's signal handler on the thread that may be in KVM_RUN. A kernel
    // notices signals by itself; the software KVM must be told, so that KVM_RUN returns -EINTR.
    virtual void signal_arrived() = 0;
};

} // namespace seamless::vmm
