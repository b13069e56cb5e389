// SPDX-License-Identifier: Apache-2.0
// A TD of one vCPU whose guest is a few instructions: they enter long mode, access one shared address, and
// report what they read.
#pragma once

#include "abi/host.h"
#include "rig/td_boot.h"
#include "rig/td_vm.h"

namespace seamless::abi {

// One page of code for the top of the first 4 GiB, where a TD starts.
extern "C" const u8 td_guest_begin[], td_guest_end[];

class TdGuest {
  public:
    static constexpr u64 kShared = rig::kTdShared;
    static constexpr u64 kDevice = 0xfeb00010;  // what the guest accesses if target is 0
    static constexpr u64 kMemory = 0x200000;    // and if it is 1
    static constexpr u32 kWritten = 0x11223344; // what it writes there
    static constexpr u16 kReportPort = 0xf4;
    enum Target : u64 { device = 0, memory = 1 };

    TdGuest(Host& host, Target target);
    // KVM_RUN; the exit reason, or the negative errno.
    long run_once();
    Host& host;
    int vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
    Memory shared{kPageSize};

  private:
    rig::TdVm td_{*host.device};
    Memory boot_{kPageSize}, tables_{4 * kPageSize};
};

} // namespace seamless::abi
