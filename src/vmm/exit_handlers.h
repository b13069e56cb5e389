// SPDX-License-Identifier: Apache-2.0
// What the VMM does about each way KVM_RUN returns: a table of exit reasons.
#pragma once

#include <mutex>
#include <optional>

#include "devices/bus.h"
#include "devices/ioapic.h"
#include "vmm/guest_memory.h"
#include "vmm/outcome.h"
#include "vmm/vcpu.h"

namespace seamless::vmm {

// The devices a vCPU's exits reach, one access at a time.
struct Board {
    explicit Board(devices::Ioapic& controller) : ioapic(controller) {}

    std::mutex mutex;
    devices::Bus mmio;
    devices::Bus pio;
    devices::Ioapic& ioapic;
};

struct ExitContext {
    const Vcpu& vcpu;
    Board& board;
    const GuestMemory& memory;
    bool td = false;
};

// Handles what KVM_RUN returned (`result`: 0 or -errno). Nothing: run the vCPU again; else the machine ends
// so.
[[nodiscard]] std::optional<Outcome> handle_exit(const ExitContext& context, int result);

// The name of a KVM_EXIT_ number, or empty.
[[nodiscard]] std::string_view exit_reason_name(u32 reason);

} // namespace seamless::vmm
