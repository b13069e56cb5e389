// SPDX-License-Identifier: Apache-2.0
// Guest memory for the DMA of devices: what the VMM can see of it, which is all of a plain VM's and a TD's
// shared memory.
#pragma once

#include "devices/fw_cfg.h"
#include "vmm/guest_memory.h"

namespace seamless::vmm {

class Dma : public devices::DmaMemory {
  public:
    explicit Dma(const GuestMemory& memory) : memory_(memory) {}
    bool read(u64 address, std::span<u8> to) override;
    bool write(u64 address, std::span<const u8> from) override;
    bool fill_zero(u64 address, u64 size) override;

  private:
    const GuestMemory& memory_;
};

} // namespace seamless::vmm
