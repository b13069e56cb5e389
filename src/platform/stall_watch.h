// SPDX-License-Identifier: Apache-2.0
// Watches the logical processors of a host for vCPUs that can never get anywhere: VM entry after VM entry
// ends in the same EPT fault and no instruction retires. It also keeps the last VM exits of each vCPU. Part
// of the inspection port; nothing in the layers below knows of it.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "cpu/package.h"
#include "platform/exit_history.h"

namespace seamless::platform {

class StallWatch {
  public:
    static constexpr unsigned kVcpus = 1024; // ids above share an entry, which errs on the side of "no stall"

    using GuestState = std::array<u64, 3 + spec::kGprCount>; // RIP, RSP, RFLAGS, general registers

    struct Stall {
        u64 fruitless_entries = 0;
        u64 rip = 0;
        u64 gpa = 0;
        u32 exit_reason = 0;
    };

    // A factory whose processors are those of `inner`, watched. The watch must outlive them.
    [[nodiscard]] cpu::LpFactory watch(cpu::LpFactory inner);
    // Of the vCPU with this id; any thread.
    [[nodiscard]] Stall stall(u32 vcpu) const;
    // Of the vCPU with this id, once no thread runs it any more; nullptr if it was never entered.
    [[nodiscard]] const ExitHistory* history(u32 vcpu) const
    {
        return vcpu < kVcpus ? histories_[vcpu].get() : nullptr;
    }
    // The vCPUs are about to go, and others with their ids may come.
    void forget();

  private:
    class Watched;

    // Written by the thread that runs the vCPU, read by the watchdog: it needs no consistent picture.
    struct Record {
        std::atomic<u64> fruitless{0};
        bool faulted = false; // the last entry ended in an EPT fault. For the vCPU's thread only, as is
        GuestState state{};   // what it had then
        std::atomic<u64> rip{0};
        std::atomic<u64> gpa{0};
        std::atomic<u32> reason{0};
    };

    Record& record(u32 vcpu) { return records_[vcpu % kVcpus]; }

    // Made by the thread that first enters the vCPU; ids above kVcpus write over those of others.
    ExitHistory& noted(u32 vcpu);

    std::array<Record, kVcpus> records_;
    std::array<std::unique_ptr<ExitHistory>, kVcpus> histories_;
};

} // namespace seamless::platform
