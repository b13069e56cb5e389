// SPDX-License-Identifier: Apache-2.0
// What is behind our descriptors: the system, VMs, vCPUs and guest_memfds, kept alive as a kernel keeps
// files.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "kvm/guest_memfd.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "uapi/device.h"

namespace seamless::uapi {

struct File {
    enum class Kind : u8 { system, vm, vcpu, guest_memfd };
    Kind kind = Kind::system;
    // A VM lives as long as one of its descriptors, in whatever order they close.
    std::shared_ptr<kvm::Vm> vm;
    kvm::Vcpu* vcpu = nullptr;
    std::unique_ptr<kvm::GuestMemfd> gmem;
};

class FileTable {
  public:
    // The file keeps living while the caller holds it, even if another thread closes the descriptor.
    [[nodiscard]] std::shared_ptr<File> get(int fd) const;
    // Installs `file` under `fd`, which the table closes later.
    void install(int fd, std::shared_ptr<File> file);
    // Forgets `fd`; the file is released by whoever holds it last.
    [[nodiscard]] std::shared_ptr<File> remove(int fd);
    [[nodiscard]] std::vector<int> descriptors() const;

  private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<int, std::shared_ptr<File>> files_;
};

// A copy of user memory; EFAULT where a kernel would say so.
[[nodiscard]] Result<void, Errno> copy_from_user(void* to, u64 from, std::size_t bytes);
[[nodiscard]] Result<void, Errno> copy_to_user(u64 to, const void* from, std::size_t bytes);

template <typename T>
[[nodiscard]] Result<T, Errno> get_user(u64 from)
{
    T value;
    TRY(copy_from_user(&value, from, sizeof value));
    return value;
}
template <typename T>
[[nodiscard]] Result<void, Errno> put_user(u64 to, const T& value)
{
    return copy_to_user(to, &value, sizeof value);
}

// What an ioctl answers: a number, 0 or more.
using IoctlResult = Result<long, Errno>;
struct Call {
    FileTable& files;
    kvm::Kvm& kvm;
    File& file;
    unsigned long request;
    u64 arg;
};

[[nodiscard]] IoctlResult system_ioctl(const Call& call);
[[nodiscard]] IoctlResult vm_ioctl(const Call& call);
[[nodiscard]] IoctlResult vcpu_ioctl(const Call& call);
// KVM_MEMORY_ENCRYPT_OP of a TD.
[[nodiscard]] IoctlResult tdx_vm_ioctl(const Call& call);
[[nodiscard]] IoctlResult tdx_vcpu_ioctl(const Call& call);

// The vCPU whose KVM_RUN (or other ioctl) this thread is in, for signal_arrived().
void set_current_vcpu(kvm::Vcpu* vcpu);

} // namespace seamless::uapi
