// SPDX-License-Identifier: Apache-2.0
// The last VM exits of one vCPU. Noting one costs a few dozen stores, next to an exit's microsecond: so it is
// never off. Written by the thread that runs the vCPU; to be read when that has stopped. A guest that writes
// its last words to a serial port, letter by letter, does not push out what came before: of a row of accesses
// to ports only the last few are kept.
#pragma once

#include <array>
#include <vector>

#include "cpu/guest_context.h"
#include "cpu/vmx/vmcs.h"
#include "trace/crossing.h"

namespace seamless::platform {

class ExitHistory {
  public:
    static constexpr unsigned kKept = 64;
    static constexpr unsigned kPortsKept = 12; // in a row

    void entering(const cpu::Vmcs& vmcs, const cpu::GuestContext& context);
    void left(const cpu::Vmcs& vmcs, const cpu::GuestContext& context);

    // Oldest first.
    [[nodiscard]] std::vector<trace::Crossing> crossings() const;
    // Of the guest that was entered last; they live as long as its vCPU.
    [[nodiscard]] const cpu::Vmcs* vmcs() const { return vmcs_; }
    [[nodiscard]] const cpu::GuestContext* context() const { return context_; }

  private:
    std::array<trace::Crossing, kKept> ring_;
    u64 count_ = 0;
    unsigned at_ = 0;       // where the last one is
    u64 ports_ = 0;         // accesses to ports in a row that came last
    unsigned ports_at_ = 0; // where they turn
    const cpu::Vmcs* vmcs_ = nullptr;
    const cpu::GuestContext* context_ = nullptr;
};

} // namespace seamless::platform
