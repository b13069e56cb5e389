// SPDX-License-Identifier: Apache-2.0
// What a debugger of guests asks of a processor. It is no part of the architecture: a guest sees nothing of
// it, and neither does the software that enters the guest. Without a debugger nothing here is ever called.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/logical_processor.h"

namespace seamless::cpu {

// Where guests stop. It changes only while no processor executes guest code.
struct DebugPoints {
    struct Watch {
        u64 start = 0;
        u64 bytes = 0;
        bool reads = false;
        bool writes = false;
    };

    std::vector<u64> breakpoints; // linear addresses, ascending
    std::vector<Watch> watches;
    u64 version = 0; // another one after each change of the breakpoints; 0 if there never were any

    [[nodiscard]] bool stops_at(u64 address) const
    {
        return std::binary_search(breakpoints.begin(), breakpoints.end(), address);
    }
    [[nodiscard]] bool on_page_of(u64 address) const
    {
        const auto at = std::lower_bound(breakpoints.begin(), breakpoints.end(), address & ~kPageMask);
        return at != breakpoints.end() && (*at ^ address) < kPageSize;
    }
    // The watch that an access hits, or nullptr.
    [[nodiscard]] const Watch* watched(u64 start, u64 bytes, bool write) const
    {
        for (const Watch& w : watches)
            if ((write ? w.writes : w.reads) && start - w.start + bytes - 1 < w.bytes + bytes - 1)
                return &w;
        return nullptr;
    }
};

// Why a guest stands still. `asked`: by stop_guest().
struct DebugStop {
    enum class Reason : u8 { none, asked, stepped, breakpoint, watchpoint } reason = Reason::none;
    u64 address = 0; // watchpoint: what was accessed
};

// A processor, as a debugger sees it.
class Debuggee {
  public:
    // Any thread: the guest stops before its next instruction.
    virtual void stop_guest() = 0;
    // Any thread: whether the software that entered the guest wants this processor back.
    [[nodiscard]] virtual bool host_waits() const = 0;

  protected:
    ~Debuggee() = default;
};

class DebugPort {
  public:
    struct Run {
        bool enter = true; // false: the software that entered the guest gets it back as it is
        bool step = false; // one instruction, or the delivery of one event
        bool code_changed = false;
        const DebugPoints* points = nullptr;
    };
    // Before each piece of guest code: at VM entry, and again after every stop. The guest is in `vmcs` and
    // `context` and may be changed there. It stands still for as long as this does not return.
    [[nodiscard]] virtual Run before(LogicalProcessor& lp, Debuggee& debuggee, Vmcs& vmcs,
                                     GuestContext& context) = 0;
    // After it: the guest has stopped, or left (Reason::none) for the software that entered it.
    virtual void after(LogicalProcessor& lp, const Vmcs& vmcs, const GuestContext& context,
                       const DebugStop& stop) = 0;

  protected:
    ~DebugPort() = default;
};

} // namespace seamless::cpu
