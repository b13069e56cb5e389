// SPDX-License-Identifier: Apache-2.0
// The machine that runs at the moment, as those outside see it who stay while it is reset: between the end of
// a machine and the start of the next, input waits and the wish to end is kept.
#pragma once

#include <mutex>
#include <optional>

#include "vmm/machine.h"

namespace seamless::cli {

class RunningMachine {
  public:
    // nullptr: none for now; what the last one was called for is over then.
    void set(vmm::Machine* machine);
    // Any thread, as the machine's functions of these names.
    void end(vmm::Outcome outcome);
    std::size_t receive(std::span<const u8> bytes);
    std::size_t receive_console(std::span<const u8> bytes);

  private:
    std::mutex mutex_; // guards what follows; held while the machine is called
    vmm::Machine* machine_ = nullptr;
    std::optional<vmm::Outcome> outcome_; // wished for while there was none
};

} // namespace seamless::cli
