// SPDX-License-Identifier: Apache-2.0
// The simulated host that `seamless run` uses: a platform, its KVM device, and the trace it writes.
#pragma once

#include <memory>

#include "cli/options.h"
#include "platform/engine.h"
#include "trace/inspection.h"
#include "trace/trace.h"
#include "vmm/inspection_port.h"
#include "vmm/ioctl_port.h"

namespace seamless::cli {

class SoftwareHost {
  public:
    struct Options {
        platform::Engine engine;
        std::optional<std::array<u8, 32>> report_key = {}; // none: a random one
        std::bitset<64> events = {};                       // what is traced
        std::unique_ptr<trace::Sink> sink = {};            // nullptr: nothing is
        bool inspect = false;                              // tools look at guests and stop them
        bool hold = false;                                 // guests wait for a tool before they begin
    };

    // Opens the user's trace file; nullptr if the target has no path.
    [[nodiscard]] static Result<std::unique_ptr<trace::Sink>, Message> open_trace(const TraceTarget& target);
    // Fails if the host does not come up, which is no fault of the user's.
    [[nodiscard]] static Result<std::unique_ptr<SoftwareHost>, Message> make(Options options);
    virtual ~SoftwareHost() = default;
    SoftwareHost(const SoftwareHost&) = delete;
    SoftwareHost& operator=(const SoftwareHost&) = delete;

    [[nodiscard]] virtual vmm::IoctlPort& kvm() = 0;
    [[nodiscard]] virtual vmm::InspectionPort& inspection() = 0;
    // What tools look through while guests run; nullptr unless asked for.
    [[nodiscard]] virtual trace::Inspection* guests() = 0;
    // What a machine's guests looked like when it stopped: between the end of its run and machine_goes().
    [[nodiscard]] virtual trace::Inspection& look_back() = 0;
    // A machine has run, and is about to go.
    virtual void machine_goes() = 0;

    // What its processors have counted; the guests must have ended.
    struct Counters {
        u64 vm_exits = 0;
        u64 translations = 0;
        std::optional<u64> instructions; // of guests, with --engine step: translated code counts none
    };
    [[nodiscard]] virtual Counters counters() = 0;

  protected:
    SoftwareHost() = default;
};

} // namespace seamless::cli
