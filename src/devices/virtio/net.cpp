// SPDX-License-Identifier: Apache-2.0
// Frames out and in; nothing is offloaded.
#include "devices/virtio/net.h"

#include <algorithm>

#include "devices/little_endian.h"

namespace seamless::devices::virtio {
namespace {

constexpr u64 MTU = bit(3), MAC = bit(5), STATUS = bit(16);
constexpr u64 LINK_UP = 1;

// What stands before each frame; all zeros without offloading, but for the number of buffers of a frame
// that comes in.
constexpr std::size_t kHeader = 12;
constexpr std::size_t kNumBuffers = 10;

} // namespace

Net::Net(Network& network, const MacAddress& mac) : network_(network)
{
    std::copy(mac.begin(), mac.end(), config_.begin());
    store_le(std::span(config_).subspan(6, 2), LINK_UP);
    store_le(std::span(config_).subspan(10, 2), kMtu); // after max_virtqueue_pairs
}

u64 Net::features() const { return MTU | MAC | STATUS; }

void Net::perform()
{
    std::array<u8, kHeader> header{};
    if (chain_.read(header) != kHeader)
        return;
    const u64 size = total_size(chain_.readable);
    if (size == 0 || size > kMostFrame) // no frame of any network; it is lost
        return;
    frame_.resize(size);
    (void)chain_.read(frame_);
    network_.send(frame_);
}

bool Net::receive(std::span<const u8> frame)
{
    if (!port().pop(kReceive, received_))
        return false;
    std::array<u8, kHeader> header{};
    header[kNumBuffers] = 1;
    std::size_t written = copy_to(received_.writable, 0, header);
    written += copy_to(received_.writable, written, frame);
    port().push(kReceive, received_, written);
    return true;
}

} // namespace seamless::devices::virtio
