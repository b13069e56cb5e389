// SPDX-License-Identifier: Apache-2.0
// A vCPU as its VMM has it: the descriptor and the kvm_run pages that are shared with KVM.
#pragma once

#include <span>

#include "spec/kvm_abi.h"
#include "vmm/kvm_fd.h"

namespace seamless::vmm {

class Vcpu {
  public:
    // KVM_CREATE_VCPU with id `index`. `mapped` is KVM_GET_VCPU_MMAP_SIZE.
    [[nodiscard]] static Result<Vcpu, Message> create(const KvmFd& vm, unsigned index, u64 mapped);
    Vcpu(Vcpu&& other) noexcept
        : fd_(std::move(other.fd_)),
          run_(std::exchange(other.run_, nullptr)),
          mapped_(other.mapped_),
          index_(other.index_)
    {}
    Vcpu& operator=(Vcpu&&) = delete;
    ~Vcpu();

    [[nodiscard]] const KvmFd& fd() const { return fd_; }
    [[nodiscard]] unsigned index() const { return index_; }
    [[nodiscard]] spec::kvm::kvm_run& run() const { return *run_; }
    // The data of a KVM_EXIT_IO: empty if what KVM says does not lie in the mapped pages.
    [[nodiscard]] std::span<u8> io_data() const;
    // Any thread: the next KVM_RUN returns -EINTR at once.
    void request_exit() const { __atomic_store_n(&run_->immediate_exit, u8{1}, __ATOMIC_SEQ_CST); }

  private:
    Vcpu(KvmFd fd, spec::kvm::kvm_run* run, u64 mapped, unsigned index)
        : fd_(std::move(fd)), run_(run), mapped_(mapped), index_(index)
    {}

    KvmFd fd_;
    spec::kvm::kvm_run* run_;
    u64 mapped_;
    unsigned index_;
};

} // namespace seamless::vmm
