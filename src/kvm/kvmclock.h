// SPDX-License-Identifier: Apache-2.0
// kvmclock: the clock of a VM in ns, which guests read in their own memory and VMMs by KVM_GET_CLOCK, and the
// wall clock. KVM API: "KVM-specific MSRs", "KVM_GET_CLOCK", "KVM_SET_CLOCK", "KVM_KVMCLOCK_CTRL".
#pragma once

#include <atomic>
#include <mutex>

#include "base/errno.h"
#include "base/host_ports.h"
#include "base/result.h"
#include "spec/kvm_abi.h"
#include "spec/kvm_para.h"

namespace seamless::kvm {

class Vm;
class Vcpu;

// A counter of `hz` in ns: (ticks << shift) * mul >> 32, with the shift negative for a right shift.
struct TimeScale {
    u32 mul;
    i8 shift;

    [[nodiscard]] static TimeScale of(u64 hz);
    [[nodiscard]] u64 ns(u64 ticks) const;
};

// The clock of a VM. It is a function of the host's TSC, so that host and guest agree on it to the tick.
class KvmClock {
  public:
    KvmClock(Vm& vm, base::Clock& clock);

    [[nodiscard]] spec::kvm::kvm_clock_data get() const;
    [[nodiscard]] Result<void, Errno> set(const spec::kvm::kvm_clock_data& data);
    // The real time at which the VM's clock was 0, in ns.
    [[nodiscard]] u64 wall_clock_epoch() const;
    // What a vCPU whose TSC is the host's plus `tsc_offset` is told; without a version.
    [[nodiscard]] spec::kvm::pvclock_vcpu_time_info time_info(u64 tsc_offset) const;
    // By which pair of MSRs vCPU 0 asked last. The old pair promises no clock that all vCPUs share.
    void boot_vcpu_uses_old_msr(bool old_msr);
    [[nodiscard]] u64 wall_clock_msr() const;
    void set_wall_clock_msr(u64 gpa);

  private:
    [[nodiscard]] bool stable() const;
    [[nodiscard]] u64 at(u64 tsc) const;
    void request_updates();

    Vm& vm_;
    base::Clock& clock_;
    const TimeScale scale_;
    const u64 start_tsc_; // at the creation of the VM
    mutable std::mutex mutex_;
    u64 offset_ns_ = 0; // the VM's clock at start_tsc_; wraps, where it was set back
    u64 wall_clock_msr_ = 0;
    bool old_msr_ = false;
};

// Of a vCPU; used on its own thread or under its mutex, but for tsc_matches.
struct PvTime {
    u64 msr = 0;
    bool active = false;                 // the guest gets the clock at msr's address
    bool guest_stopped = false;          // say so with the next update
    bool enforce_cpuid = false;          // KVM_CAP_ENFORCE_PV_FEATURE_CPUID
    std::atomic<bool> tsc_matches{true}; // its TSC is that of the VM's other vCPUs

    void reset()
    {
        msr = 0;
        active = false;
    }
};

[[nodiscard]] bool is_kvmclock_msr(u32 index);
[[nodiscard]] Result<u64, Errno> kvmclock_get_msr(Vcpu& vcpu, u32 index);
[[nodiscard]] Result<void, Errno> kvmclock_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host);
// KVM_REQ_CLOCK_UPDATE, outside the guest.
void kvm_guest_time_update(Vcpu& vcpu);
[[nodiscard]] Result<void, Errno> kvm_set_guest_paused(Vcpu& vcpu);

} // namespace seamless::kvm
