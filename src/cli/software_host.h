// SPDX-License-Identifier: Apache-2.0
// The simulated host that `seamless run` uses: a platform, its KVM device, and the trace it writes.
#pragma once

#include <memory>

#include "cli/options.h"
#include "platform/engine.h"
#include "vmm/inspection_port.h"
#include "vmm/ioctl_port.h"

namespace seamless::cli {

class SoftwareHost {
  public:
    struct Options {
        platform::Engine engine;
        TraceTarget trace; // without a path: no trace
    };

    // Fails if the trace cannot be opened, or the host does not come up.
    [[nodiscard]] static Result<std::unique_ptr<SoftwareHost>, Message> make(const Options& options);
    virtual ~SoftwareHost() = default;
    SoftwareHost(const SoftwareHost&) = delete;
    SoftwareHost& operator=(const SoftwareHost&) = delete;

    [[nodiscard]] virtual vmm::IoctlPort& kvm() = 0;
    [[nodiscard]] virtual vmm::InspectionPort& inspection() = 0;

  protected:
    SoftwareHost() = default;
};

} // namespace seamless::cli
