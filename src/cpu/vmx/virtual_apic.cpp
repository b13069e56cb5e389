// SPDX-License-Identifier: Apache-2.0
// Virtual interrupts: priorities, service, end of interrupt, posted requests.
#include "cpu/vmx/virtual_apic.h"

#include <algorithm>
#include <bit>

namespace seamless::cpu {

u8 VirtualApic::highest(unsigned base) const
{
    for (unsigned i = 8; i-- > 0;)
        if (const u32 word = reg(base + i * 16))
            return static_cast<u8>(i * 32 + 31 - static_cast<unsigned>(std::countl_zero(word)));
    return 0;
}

// SDM: "PPR Virtualization".
void VirtualApic::update_ppr()
{
    const u32 tpr = reg(kTpr) & 0xff;
    reg(kPpr) = (tpr & 0xf0) >= (svi() & 0xf0u) ? tpr : svi() & 0xf0u;
}

void VirtualApic::write_tpr(u8 value)
{
    reg(kTpr) = value;
    update_ppr();
}

void VirtualApic::write_eoi()
{
    reg(kEoi) = 0;
    clear_bit(kIsr, svi());
    set_svi(highest(kIsr));
    update_ppr();
}

void VirtualApic::self_ipi(u8 vector)
{
    set_bit(kIrr, vector);
    set_rvi(std::max(rvi(), vector));
}

// The descriptor: requests in bits 255:0, ON in bit 256. Others set bits in it at any time.
void VirtualApic::take_posted()
{
    auto* words = mem::host_ptr<u64>(Hpa(vmcs_.posted_intr_desc));
    __atomic_fetch_and(&words[4], ~u64{1}, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < 4; ++i) {
        const u64 requests = __atomic_exchange_n(&words[i], u64{0}, __ATOMIC_SEQ_CST);
        if (requests == 0)
            continue;
        reg(kIrr + i * 32) |= static_cast<u32>(requests);
        reg(kIrr + i * 32 + 16) |= static_cast<u32>(requests >> 32);
        const u8 top = static_cast<u8>(i * 64 + 63 - static_cast<unsigned>(std::countl_zero(requests)));
        set_rvi(std::max(rvi(), top));
    }
}

bool VirtualApic::pending() const { return (rvi() & 0xf0u) > (reg(kPpr) & 0xf0u); }

u8 VirtualApic::deliver()
{
    const u8 vector = rvi();
    set_bit(kIsr, vector);
    set_svi(vector);
    reg(kPpr) = vector & 0xf0u;
    clear_bit(kIrr, vector);
    set_rvi(highest(kIrr));
    return vector;
}

} // namespace seamless::cpu
