// SPDX-License-Identifier: Apache-2.0
// Opens disks and the network.
#include "cli/backends.h"

#include <fmt/format.h>

#include "vmm/disk_file.h"
#include "vmm/virtio_layout.h"

namespace seamless::cli {

Result<vmm::VirtioBackends, Message> open_backends(const RunOptions& o, devices::SerialSink* console,
                                                   base::Random& random)
{
    vmm::VirtioBackends backends;
    backends.console = console;
    backends.random = &random;
    if (o.disks.size() > vmm::kMostDisks)
        return fail(Message{fmt::format("--disk: a machine has at most {} disks", vmm::kMostDisks)});
    for (const std::string& text : o.disks) {
        const DiskOption disk = parse_disk(text);
        backends.disks.push_back(TRY(vmm::DiskFile::open(disk.path, disk.read_only)));
    }
    const NetOption net = TRY(parse_net(o.net));
    if (net.user)
        backends.network = TRY(vmm::UserNetwork::open(net.forwards));
    return backends;
}

} // namespace seamless::cli
