// SPDX-License-Identifier: Apache-2.0
// guest_memfd: a file whose pages back private guest memory and never appear in the VMM's mappings. The file
// is a real memfd, mapped into the arena of convertible memory, so that its pages have host physical
// addresses.
#pragma once

#include <memory>
#include <vector>

#include "mem/host_memory.h"

namespace seamless::kvm {

struct Memslot;
class Vm;

class GuestMemfd {
  public:
    [[nodiscard]] static Result<std::unique_ptr<GuestMemfd>, Errno> create(std::shared_ptr<Vm> vm, u64 size,
                                                                           u64 flags);
    // The release of the file: slots that were bound lose their pages.
    ~GuestMemfd();
    GuestMemfd(const GuestMemfd&) = delete;
    GuestMemfd& operator=(const GuestMemfd&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] u64 size() const { return size_; }
    [[nodiscard]] Vm& vm() { return *vm_; }
    [[nodiscard]] Hpa page(u64 offset) const { return base_ + offset; }

    // fallocate() of the file.
    [[nodiscard]] Result<void, Errno> fallocate(int mode, u64 offset, u64 bytes);

    // Slots call these with the VM's slots_lock held.
    [[nodiscard]] Result<void, Errno> bind(Memslot& slot, u64 offset);
    void unbind(Memslot& slot);

    // A page is zero until INIT_MEM_REGION or the guest fills it; INIT_MEM_REGION refuses to do so twice.
    [[nodiscard]] bool prepared(u64 offset) const { return prepared_[offset >> kPageShift]; }
    void set_prepared(u64 offset) { prepared_[offset >> kPageShift] = true; }

  private:
    GuestMemfd(std::shared_ptr<Vm> vm, int fd, Hpa base, u64 size);
    void zap(u64 offset, u64 bytes);
    [[nodiscard]] Result<void, Errno> allocate(int mode, u64 offset, u64 bytes);
    [[nodiscard]] Result<void, Errno> punch_hole(u64 offset, u64 bytes);

    // A file keeps its VM alive, as in the kernel: VM, vCPU and guest_memfd descriptors close in any order.
    std::shared_ptr<Vm> vm_;
    int fd_;
    Hpa base_;
    u64 size_;
    std::vector<bool> prepared_;
    std::vector<Memslot*> bound_;
};

} // namespace seamless::kvm
