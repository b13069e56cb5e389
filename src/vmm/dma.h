// SPDX-License-Identifier: Apache-2.0
// Guest memory for the DMA of devices: what the VMM can see of it, which is all of a plain VM's and a TD's
// shared memory. A device that is sent to a TD's private memory finds the shared side of the page, as on
// hardware; that is noted for whoever wonders.
#pragma once

#include <mutex>
#include <vector>

#include "devices/dma_memory.h"
#include "vmm/guest_memory.h"

namespace seamless::vmm {

struct DmaMistake {
    u64 address = 0;
    u64 size = 0;
    bool memory = false; // the guest's private memory; else no memory at all
};

class Dma : public devices::DmaMemory {
  public:
    explicit Dma(const GuestMemory& memory) : memory_(memory) {}
    u8* map(u64 address, u64 size) override
    {
        u8* found = memory_.at({address, size});
        if (found == nullptr || memory_.is_private({address, size})) [[unlikely]]
            note({address, size, found != nullptr});
        return found;
    }
    // The first ones.
    [[nodiscard]] std::vector<DmaMistake> mistakes() const
    {
        const std::lock_guard lock(mutex_);
        return mistakes_;
    }

  private:
    static constexpr std::size_t kKept = 8;

    void note(const DmaMistake& mistake)
    {
        const std::lock_guard lock(mutex_);
        if (mistakes_.size() < kKept)
            mistakes_.push_back(mistake);
    }

    const GuestMemory& memory_;
    mutable std::mutex mutex_; // guards what follows; taken last
    std::vector<DmaMistake> mistakes_;
};

} // namespace seamless::vmm
