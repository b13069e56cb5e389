// SPDX-License-Identifier: Apache-2.0
// The oracle: runs a case on the host's own processor, in this process.
#pragma once

#include <memory>

#include "diff/state.h"

namespace seamless::diff {

// Maps the linear layout and takes over SIGTRAP and the fault signals; make it before any processor, whose
// engine passes on what is not its own. One at a time.
class HostRunner final : public Runner {
  public:
    HostRunner();
    ~HostRunner() override;
    HostRunner(const HostRunner&) = delete;
    HostRunner& operator=(const HostRunner&) = delete;

    void run(const Inputs& in, Outcome& out) override;
    [[nodiscard]] static u64 fs_base();

    // Printed if a signal arrives that no case accounts for: what the processor under test was doing.
    std::string last_words;
};

} // namespace seamless::diff
