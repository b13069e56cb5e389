// SPDX-License-Identifier: Apache-2.0
// Console: buffers to the sink, input to buffers.
#include "devices/virtio/console.h"

#include <algorithm>

namespace seamless::devices::virtio {

void Console::perform()
{
    u64 left = kMost;
    for (const std::span<u8> piece : chain_.readable) {
        const std::span<const u8> part = piece.first(std::min<u64>(piece.size(), left));
        sink_.transmit_all(part);
        left -= part.size();
    }
}

std::size_t Console::receive(std::span<const u8> bytes)
{
    std::size_t done = 0;
    // Once around the ring at most: a driver may offer buffers without room faster than we return them.
    for (unsigned i = 0; i < Queue::kMaxSize && done < bytes.size() && port().pop(kReceive, received_); ++i) {
        const std::size_t count = copy_to(received_.writable, 0, bytes.subspan(done));
        port().push(kReceive, received_, count);
        done += count;
    }
    return done;
}

} // namespace seamless::devices::virtio
