// SPDX-License-Identifier: Apache-2.0
// KVM as /dev/kvm's system descriptor knows it: the host underneath, the capabilities, the VMs.
#pragma once

#include <memory>
#include <vector>

#include "cpu/package.h"
#include "cpu/seam_port.h"
#include "kvm/irqchip/host_timer.h"
#include "kvm/processors.h"
#include "kvm/tdx_host/tdx_host.h"
#include "kvm/x86_ops/x86_ops.h"
#include "spec/kvm_abi.h"

namespace seamless::kvm {

class Vm;

class Kvm {
  public:
    // `seam`: the TDX module, or null; `tdx` tells whether bringing it up worked, VMs of type TDX need it.
    // `timers`: those of the host if null; else they outlive it.
    Kvm(cpu::Package& package, cpu::SeamPort* seam, const x86_ops& ops = vt_x86_ops,
        HostTimers* timers = nullptr);
    ~Kvm();
    Kvm(const Kvm&) = delete;
    Kvm& operator=(const Kvm&) = delete;

    // Brings the TDX module up, as Linux does. Without it, KVM offers plain VMs only.
    [[nodiscard]] Result<void, Message> enable_tdx();

    [[nodiscard]] Result<std::shared_ptr<Vm>, Errno> create_vm(u64 type);
    [[nodiscard]] int check_extension(u32 cap) const;
    [[nodiscard]] std::vector<spec::kvm::kvm_cpuid_entry2> supported_cpuid() const;

    [[nodiscard]] cpu::Package& package() { return package_; }
    [[nodiscard]] Processors& processors() { return processors_; }
    [[nodiscard]] HostTimers& timers() { return timers_; }
    [[nodiscard]] TdxHost* tdx() { return tdx_ready_ ? &tdx_ : nullptr; }
    [[nodiscard]] const x86_ops& ops() const { return ops_; }
    [[nodiscard]] u32 tsc_khz() const;

  private:
    cpu::Package& package_;
    x86_ops ops_;
    Processors processors_;
    std::unique_ptr<HostTimers> own_timers_;
    HostTimers& timers_;
    TdxHost tdx_;
    bool tdx_ready_ = false;
};

} // namespace seamless::kvm
