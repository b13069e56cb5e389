// SPDX-License-Identifier: Apache-2.0
// The memory the VMM gives a VM: for every slot ordinary (shared) memory of this process and, in a TD, a
// guest_memfd for the private side, which the VMM itself cannot see.
#pragma once

#include <map>
#include <shared_mutex>
#include <sys/mman.h>

#include "vmm/kvm_fd.h"
#include "vmm/memory_map.h"

namespace seamless::vmm {

// Zeroed anonymous memory of this process, given back at the end.
class HostPages {
  public:
    [[nodiscard]] static Result<HostPages, Message> make(u64 size);
    HostPages(HostPages&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)), size_(other.size_)
    {}
    HostPages& operator=(HostPages&&) = delete;
    ~HostPages()
    {
        if (address_ != nullptr)
            ::munmap(address_, size_);
    }

    [[nodiscard]] u8* data() const { return static_cast<u8*>(address_); }
    [[nodiscard]] u64 size() const { return size_; }

  private:
    HostPages(void* address, u64 size) : address_(address), size_(size) {}
    void* address_;
    u64 size_;
};

class GuestMemory {
  public:
    GuestMemory(const KvmFd& vm, bool private_memory) : vm_(vm), private_(private_memory) {}

    // A memslot for `range`; in a TD with a guest_memfd, and private to begin with.
    [[nodiscard]] Result<void, Message> add(const MemoryRange& range);
    // Shared memory of the guest; nullptr if no slot covers the range.
    [[nodiscard]] u8* at(const MemoryRange& range) const;
    // Makes a range private or shared and drops what the other side held. 0, or the errno the guest is told.
    // Ranges without memory may be "shared", as device registers are.
    [[nodiscard]] int convert(const MemoryRange& range, bool to_private) const;
    // Whether the guest uses any of it as private memory.
    [[nodiscard]] bool is_private(const MemoryRange& range) const;

  private:
    struct Slot {
        MemoryRange range;
        HostPages shared;
        KvmFd memfd; // -1 in a plain VM
    };

    [[nodiscard]] Result<KvmFd, Message> make_memfd(u64 size) const;
    [[nodiscard]] int set_attributes(const MemoryRange& range, bool to_private) const;
    [[nodiscard]] int discard(const Slot& slot, const MemoryRange& range, bool shared_side) const;

    void note(const MemoryRange& range, bool to_private) const;

    const KvmFd& vm_;
    bool private_;
    std::vector<Slot> slots_;
    mutable std::shared_mutex mutex_;   // guards what follows; taken last
    mutable std::map<u64, u64> shared_; // start to end, apart from each other
};

} // namespace seamless::vmm
