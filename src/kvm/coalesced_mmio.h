// SPDX-License-Identifier: Apache-2.0
// KVM_REGISTER_COALESCED_MMIO: writes to a zone are queued in a ring that all vCPUs of the VM show to the
// VMM, and the guest goes on. A full ring claims nothing, so the write exits as usual.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "kvm/io_bus.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class CoalescedMmio {
  public:
    explicit CoalescedMmio(IoBus (&buses)[kBusCount]);
    ~CoalescedMmio();
    CoalescedMmio(const CoalescedMmio&) = delete;
    CoalescedMmio& operator=(const CoalescedMmio&) = delete;

    [[nodiscard]] Result<void, Errno> register_zone(const spec::kvm::kvm_coalesced_mmio_zone& zone);
    // Drops every zone that holds the given one; none is no error, as in KVM.
    [[nodiscard]] Result<void, Errno> unregister_zone(const spec::kvm::kvm_coalesced_mmio_zone& zone);
    // The page of the ring, as a descriptor to map.
    [[nodiscard]] Result<int, Errno> ring_fd();

  private:
    class Zone;
    [[nodiscard]] bool push(const Zone& zone, u64 addr, unsigned len, const void* data);
    [[nodiscard]] IoBus& bus_of(const spec::kvm::kvm_coalesced_mmio_zone& zone);
    [[nodiscard]] Result<int, Errno> ring_locked();

    IoBus (&buses_)[kBusCount];
    std::mutex mutex_; // zones_, and making the ring
    std::vector<std::unique_ptr<Zone>> zones_;
    int ring_fd_ = -1;
    std::mutex ring_mutex_; // the writers' end of the ring
    void* ring_ = nullptr;
};

} // namespace seamless::kvm
