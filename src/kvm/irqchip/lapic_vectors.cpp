// SPDX-License-Identifier: Apache-2.0
// Requests, service and priorities. SDM: "Interrupt Acceptance for Fixed Interrupts", "Task and Processor
// Priorities".
#include <bit>

#include "kvm/irqchip/lapic.h"

namespace seamless::kvm {

using namespace spec::apic;

namespace {

constexpr u32 kClass = 0xf0;
constexpr u32 word(u32 base_offset, u8 vector) { return base_offset + (vector / 32u << 4); }
constexpr u32 mask(u8 vector) { return 1u << vector % 32; }

} // namespace

int Lapic::highest(u32 base_offset) const
{
    for (int i = 7; i >= 0; --i)
        if (const u32 bits32 = reg(base_offset + (static_cast<u32>(i) << 4)); bits32 != 0)
            return i * 32 + 31 - std::countl_zero(bits32);
    return -1;
}

bool Lapic::test_vector(u32 base_offset, u8 vector) const
{
    return reg(word(base_offset, vector)) & mask(vector);
}

void Lapic::assign_vector(u32 base_offset, u8 vector, bool value)
{
    u32& r = reg(word(base_offset, vector));
    r = value ? r | mask(vector) : r & ~mask(vector);
}

void Lapic::update_ppr()
{
    const int in_service = highest(ISR);
    const u32 service_class = in_service < 0 ? 0 : static_cast<u32>(in_service) & kClass;
    const u32 task = reg(TPR) & 0xff;
    reg(PPR) = (task & kClass) >= service_class ? task : service_class;
}

int Lapic::pending_locked()
{
    const int vector = highest(IRR);
    requested_.store(vector >= 0);
    return vector >= 0 && (static_cast<u32>(vector) & kClass) > (reg(PPR) & kClass) ? vector : -1;
}

bool Lapic::request(u8 vector, bool level_triggered)
{
    const std::lock_guard lock(mutex_);
    const bool fresh = !test_vector(IRR, vector);
    assign_vector(TMR, vector, level_triggered);
    assign_vector(IRR, vector, true);
    requested_.store(true);
    return fresh;
}

int Lapic::pending()
{
    if (!requested_.load())
        return -1;
    const std::lock_guard lock(mutex_);
    if (!hardware_enabled())
        return -1;
    update_ppr();
    return pending_locked();
}

int Lapic::acknowledge()
{
    if (!requested_.load())
        return -1;
    const std::lock_guard lock(mutex_);
    update_ppr();
    const int vector = pending_locked();
    if (vector >= 0) {
        assign_vector(IRR, static_cast<u8>(vector), false);
        assign_vector(ISR, static_cast<u8>(vector), true);
        update_ppr();
    }
    return vector;
}

int Lapic::end_of_interrupt()
{
    const int vector = highest(ISR);
    if (vector >= 0)
        assign_vector(ISR, static_cast<u8>(vector), false);
    update_ppr();
    return vector;
}

} // namespace seamless::kvm
