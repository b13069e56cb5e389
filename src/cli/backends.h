// SPDX-License-Identifier: Apache-2.0
// What the virtio devices of a run are connected to: disks, network, console, entropy.
#pragma once

#include "cli/options.h"
#include "vmm/virtio_devices.h"

namespace seamless::cli {

// Opens what the options name. `console` may be nullptr.
[[nodiscard]] Result<vmm::VirtioBackends, Message>
open_backends(const RunOptions& o, devices::SerialSink* console, base::Random& random);

} // namespace seamless::cli
