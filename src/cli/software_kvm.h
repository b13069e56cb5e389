// SPDX-License-Identifier: Apache-2.0
// The VMM's ioctl port over the software KVM in this process.
#pragma once

#include "platform/inspector.h"
#include "uapi/device.h"
#include "vmm/ioctl_port.h"

namespace seamless::cli {

class SoftwareKvm : public vmm::IoctlPort {
  public:
    // `inspector` may be nullptr.
    SoftwareKvm(uapi::Device& device, platform::Inspector* inspector) : device_(device), inspector_(inspector)
    {}

    int open_kvm() override { return device_.open(); }
    int ioctl(int fd, unsigned long request, void* arg) override
    {
        return static_cast<int>(device_.ioctl(fd, request, arg));
    }
    void* mmap(int fd, u64 size) override
    {
        void* address = device_.mmap(fd, size);
        return uapi::Device::failed(address) ? nullptr : address;
    }
    void munmap(void* address, u64 size) override { (void)device_.munmap(address, size); }
    int fallocate(int fd, int mode, u64 offset, u64 bytes) override
    {
        return device_.fallocate(fd, mode, offset, bytes);
    }
    void close(int fd) override { (void)device_.close(fd); }
    void signal_arrived() override
    {
        if (inspector_ != nullptr)
            inspector_->signal_arrived();
        device_.signal_arrived();
    }

  private:
    uapi::Device& device_;
    platform::Inspector* inspector_;
};

} // namespace seamless::cli
