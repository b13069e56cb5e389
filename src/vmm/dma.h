// SPDX-License-Identifier: Apache-2.0
// Guest memory for the DMA of devices: what the VMM can see of it, which is all of a plain VM's and a TD's
// shared memory.
#pragma once

#include "devices/dma_memory.h"
#include "vmm/guest_memory.h"

namespace seamless::vmm {

class Dma : public devices::DmaMemory {
  public:
    explicit Dma(const GuestMemory& memory) : memory_(memory) {}
    u8* map(u64 address, u64 size) override { return memory_.at({address, size}); }

  private:
    const GuestMemory& memory_;
};

} // namespace seamless::vmm
