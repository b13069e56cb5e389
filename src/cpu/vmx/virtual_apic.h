// SPDX-License-Identifier: Apache-2.0
// The virtual-APIC page and the interrupts it makes pending. SDM: "APIC Virtualization and Virtual
// Interrupts".
#pragma once

#include "cpu/vmx/vmcs.h"
#include "mem/host_memory.h"

namespace seamless::cpu {

// Works on the page and the guest interrupt status of `vmcs`, with virtual-interrupt delivery on.
class VirtualApic {
  public:
    explicit VirtualApic(Vmcs& vmcs) : vmcs_(vmcs) {}

    // SDM: "TPR Virtualization", "EOI Virtualization", "Self-IPI Virtualization".
    void write_tpr(u8 value);
    void write_eoi();
    void self_ipi(u8 vector);
    // SDM: "Posted-Interrupt Processing": merges the descriptor's requests.
    void take_posted();

    // SDM: "Evaluation of Pending Virtual Interrupts". Delivery is another matter (RFLAGS.IF, shadows).
    [[nodiscard]] bool pending() const;
    // SDM: "Virtual-Interrupt Delivery": moves the vector into service and returns it.
    [[nodiscard]] u8 deliver();

    [[nodiscard]] u32& reg(unsigned offset) const
    {
        return *mem::host_ptr<u32>(Hpa(vmcs_.virtual_apic_page + offset));
    }

    static constexpr unsigned kTpr = 0x80, kPpr = 0xa0, kEoi = 0xb0, kIsr = 0x100, kTmr = 0x180, kIrr = 0x200;

  private:
    [[nodiscard]] u8 rvi() const { return static_cast<u8>(vmcs_.guest_intr_status); }
    [[nodiscard]] u8 svi() const { return static_cast<u8>(vmcs_.guest_intr_status >> 8); }
    void set_rvi(u8 vector)
    {
        vmcs_.guest_intr_status = static_cast<u16>((vmcs_.guest_intr_status & 0xff00) | vector);
    }
    void set_svi(u8 vector)
    {
        vmcs_.guest_intr_status = static_cast<u16>((vmcs_.guest_intr_status & 0xff) | vector << 8);
    }
    void update_ppr();
    void set_bit(unsigned base, u8 vector) { reg(base + vector / 32 * 16) |= 1u << (vector % 32); }
    void clear_bit(unsigned base, u8 vector) { reg(base + vector / 32 * 16) &= ~(1u << (vector % 32)); }
    [[nodiscard]] u8 highest(unsigned base) const;

    Vmcs& vmcs_;
};

} // namespace seamless::cpu
