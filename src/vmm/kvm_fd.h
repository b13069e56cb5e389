// SPDX-License-Identifier: Apache-2.0
// A descriptor of the KVM device, closed with its owner; failures name the call and the errno.
#pragma once

#include <string_view>
#include <utility>

#include "base/message.h"
#include "base/result.h"
#include "vmm/ioctl_port.h"

namespace seamless::vmm {

// "EINVAL (Invalid argument)" of an errno value.
[[nodiscard]] std::string errno_text(int error);

class KvmFd {
  public:
    KvmFd(IoctlPort& port, int fd) : port_(&port), fd_(fd) {}
    KvmFd(KvmFd&& other) noexcept : port_(other.port_), fd_(std::exchange(other.fd_, -1)) {}
    KvmFd& operator=(KvmFd&& other) noexcept
    {
        std::swap(port_, other.port_);
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~KvmFd()
    {
        if (fd_ >= 0)
            port_->close(fd_);
    }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] IoctlPort& port() const { return *port_; }

    // The request's own result, or -errno.
    int ioctl(u32 request, void* arg) const { return port_->ioctl(fd_, request, arg); }
    int ioctl(u32 request, u64 arg = 0) const
    {
        return port_->ioctl(fd_, request, reinterpret_cast<void*>(arg));
    }
    // Failure becomes a message: `name` is the request's.
    [[nodiscard]] Result<int, Message> call(std::string_view name, u32 request, void* arg) const;
    [[nodiscard]] Result<int, Message> call(std::string_view name, u32 request, u64 arg = 0) const;
    // KVM_ENABLE_CAP.
    [[nodiscard]] Result<int, Message> enable(std::string_view name, u32 cap, u64 arg) const;

  private:
    IoctlPort* port_;
    int fd_;
};

} // namespace seamless::vmm
