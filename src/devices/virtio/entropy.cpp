// SPDX-License-Identifier: Apache-2.0
// Fills buffers with entropy.
#include "devices/virtio/entropy.h"

#include <algorithm>

namespace seamless::devices::virtio {

void Entropy::perform()
{
    filled_ = 0;
    for (const std::span<u8> piece : chain_.writable) {
        const std::span<u8> part = piece.first(std::min<u64>(piece.size(), kMost - filled_));
        if (part.empty() || !random_.fill(part))
            return; // none now: the driver gets what there is
        filled_ += part.size();
    }
}

} // namespace seamless::devices::virtio
