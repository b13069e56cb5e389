// SPDX-License-Identifier: Apache-2.0
// The port of a vCPU's local APIC: its guest's time, and where IPIs, timer interrupts and EOIs go.
#pragma once

#include "kvm/irqchip/lapic.h"

namespace seamless::kvm {

class Vcpu;

class VcpuApic final : public LapicPort {
  public:
    explicit VcpuApic(Vcpu& vcpu) : vcpu_(vcpu) {}
    [[nodiscard]] u64 guest_tsc() override;
    [[nodiscard]] u64 guest_tsc_khz() override;
    [[nodiscard]] u64 bus_cycle_ns() override;
    void send_ipi(const Irq& irq) override;
    void timer_interrupt(u8 vector) override;
    void end_of_interrupt(u8 vector) override;

  private:
    Vcpu& vcpu_;
};

} // namespace seamless::kvm
