// SPDX-License-Identifier: Apache-2.0
// KVM's I/O buses: ranges sorted by address and length; an access that lies inside a range is offered to each
// of its devices in turn until one claims it. A range of length 0 matches its address with any access length.
#pragma once

#include <atomic>
#include <shared_mutex>
#include <vector>

#include "base/bits.h"
#include "base/errno.h"
#include "base/result.h"

namespace seamless::kvm {

enum class BusId : u8 { KVM_MMIO_BUS, KVM_PIO_BUS, KVM_FAST_MMIO_BUS };
inline constexpr unsigned kBusCount = 3;

class IoDevice {
  public:
    virtual ~IoDevice() = default;
    // True if the device claims the access. `data` has `len` bytes, little endian.
    [[nodiscard]] virtual bool read(u64 addr, unsigned len, void* data) = 0;
    [[nodiscard]] virtual bool write(u64 addr, unsigned len, const void* data) = 0;
    [[nodiscard]] virtual bool is_ioeventfd() const { return false; }
};

class IoBus {
  public:
    // ENOSPC beyond 1000 devices that are not ioeventfds.
    [[nodiscard]] Result<void, Errno> add(u64 addr, unsigned len, IoDevice& device);
    void remove(const IoDevice& device);
    [[nodiscard]] bool read(u64 addr, unsigned len, void* data);
    [[nodiscard]] bool write(u64 addr, unsigned len, const void* data);

  private:
    struct Range {
        u64 addr;
        unsigned len;
        IoDevice* device;
    };

    template <typename Access>
    bool offer(u64 addr, unsigned len, Access access);

    std::shared_mutex mutex_;
    std::vector<Range> ranges_;
    std::atomic<bool> empty_ = true; // nothing to look for, nor to lock
};

} // namespace seamless::kvm
