// SPDX-License-Identifier: Apache-2.0
// A planted bug: the entropy device is given a buffer in private memory. It fills the shared page of that
// address, and the guest waits for ever for bytes in its own.
#include "guest/tests/virtio_driver.h"

namespace seamless::guest {
namespace {

alignas(64) volatile u64 buffer[8];

} // namespace

bool guest_main(const Machine& machine)
{
    constexpr unsigned kEntropy = 7;
    map_virtio(machine);
    Device device(kEntropy);
    device.start();
    check(device.send<1>({{reinterpret_cast<u64>(&buffer), sizeof(buffer), kWrite}}), "the device is done");
    while (buffer[0] == 0)
        asm volatile("pause");
    return false;
}

} // namespace seamless::guest
