// SPDX-License-Identifier: Apache-2.0
// DMA into and out of the VMM's mapping of guest memory.
#include "vmm/dma.h"

#include <cstring>

namespace seamless::vmm {

bool Dma::read(u64 address, std::span<u8> to)
{
    const u8* from = memory_.at({address, to.size()});
    if (from == nullptr)
        return false;
    std::memcpy(to.data(), from, to.size());
    return true;
}

bool Dma::write(u64 address, std::span<const u8> from)
{
    u8* to = memory_.at({address, from.size()});
    if (to == nullptr)
        return false;
    std::memcpy(to, from.data(), from.size());
    return true;
}

bool Dma::fill_zero(u64 address, u64 size)
{
    u8* to = memory_.at({address, size});
    if (to == nullptr)
        return false;
    std::memset(to, 0, size);
    return true;
}

} // namespace seamless::vmm
