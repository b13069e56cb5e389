// SPDX-License-Identifier: Apache-2.0
// An interrupt on its way to local APICs: what an ICR write, an MSI or a route says, and who takes it.
#pragma once

#include "base/bits.h"
#include "spec/apic.h"

namespace seamless::kvm {

class Vm;
class Vcpu;

struct Irq {
    u32 dest_id = 0;
    u8 vector = 0;
    spec::apic::DeliveryMode mode = spec::apic::DeliveryMode::fixed;
    bool logical = false;
    bool assert = true;
    bool level_triggered = false;
    spec::apic::Shorthand shorthand = spec::apic::Shorthand::none;
    bool redirection_hint = false;
};

// What of a local APIC decides whether an interrupt is for it.
struct ApicAddress {
    bool hardware_enabled = false;
    bool software_enabled = false;
    bool x2apic = false;
    u32 id = 0; // 8 bits in xAPIC mode
    u32 ldr = 0;
    u32 dfr = 0;
};

// The low and the high half of an interrupt command; `x2apic` tells how the destination is encoded.
[[nodiscard]] Irq irq_of_icr(u32 low, u32 high, bool x2apic);
// SDM: "Message Signalled Interrupts". `ids_32bit`: address_hi carries bits 31:8 of the destination.
[[nodiscard]] Irq irq_of_msi(u32 address_lo, u32 address_hi, u32 data, bool ids_32bit);

// `from_device`: no processor sent it, so the broadcast quirk may apply. `same`: the target sent it itself.
[[nodiscard]] bool kvm_apic_match_dest(const ApicAddress& target, const Irq& irq, bool same,
                                       bool broadcast_quirk);

// Delivers to all whom it concerns. -1: to nobody; else how many took it (0: who was addressed has no use for
// it). `source` is the vCPU that sent it, or null for a device.
int kvm_irq_delivery_to_apic(Vm& vm, Vcpu* source, Irq irq);

} // namespace seamless::kvm
