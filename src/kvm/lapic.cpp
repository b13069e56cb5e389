// SPDX-License-Identifier: Apache-2.0
// SDM: "x2APIC Register Address Space". Which registers exist, and which may be read and written, is the
// table.
#include "kvm/lapic.h"

#include "base/table.h"

namespace seamless::kvm {

namespace {

struct Register {
    u32 index;
    bool readable, writable;
    u64 mask; // writable bits
};

// clang-format off
constexpr Register kRegisters[] = {
    {0x02, true,  false, 0},                    // ID
    {0x03, true,  false, 0},                    // version
    {0x08, true,  true,  0xff},                 // TPR
    {0x0a, true,  false, 0},                    // PPR
    {0x0b, false, true,  0},                    // EOI
    {0x0d, true,  false, 0},                    // LDR
    {0x0f, true,  true,  0x1ff},                // spurious vector
    {0x10, true,  false, 0}, {0x11, true, false, 0}, {0x12, true, false, 0}, {0x13, true, false, 0},
    {0x14, true,  false, 0}, {0x15, true, false, 0}, {0x16, true, false, 0}, {0x17, true, false, 0},
    {0x18, true,  false, 0}, {0x19, true, false, 0}, {0x1a, true, false, 0}, {0x1b, true, false, 0},
    {0x1c, true,  false, 0}, {0x1d, true, false, 0}, {0x1e, true, false, 0}, {0x1f, true, false, 0},
    {0x20, true,  false, 0}, {0x21, true, false, 0}, {0x22, true, false, 0}, {0x23, true, false, 0},
    {0x24, true,  false, 0}, {0x25, true, false, 0}, {0x26, true, false, 0}, {0x27, true, false, 0},
    {0x28, true,  true,  0},                    // error status: a write of 0 latches
    {0x2f, true,  true,  0x107ff},              // LVT CMCI
    {0x30, true,  true,  0xffffffff'000ccfff},  // interrupt command
    {0x32, true,  true,  0x700ff},              // LVT timer
    {0x33, true,  true,  0x107ff},              // LVT thermal
    {0x34, true,  true,  0x107ff},              // LVT performance
    {0x35, true,  true,  0x1a7ff},              // LVT LINT0
    {0x36, true,  true,  0x1a7ff},              // LVT LINT1
    {0x37, true,  true,  0x100ff},              // LVT error
    {0x38, true,  true,  0xffffffff},           // initial count
    {0x39, true,  false, 0},                    // current count
    {0x3e, true,  true,  0xb},                  // divide configuration
    {0x3f, false, true,  0xff},                 // self IPI
};
// clang-format on
static_assert(base::strictly_ascending(kRegisters, &Register::index));

} // namespace

Lapic::Lapic(u32 x2apic_id)
{
    reg_[0x02] = x2apic_id;
    reg_[0x03] = 0x50014; // six LVT entries, version 14H
    reg_[0x0d] = u64{x2apic_id & ~0xfu} << 12 | bit(x2apic_id & 0xf);
    reg_[0x0f] = 0xff;
    for (const u32 lvt : {0x32u, 0x33u, 0x34u, 0x35u, 0x36u, 0x37u})
        reg_[lvt] = bit(16); // masked
}

Result<u64, Errno> Lapic::read(u32 index) const
{
    const Register* row = base::find_row(kRegisters, &Register::index, index & 0xff);
    if (!row || !row->readable)
        return fail(Errno{EINVAL});
    return reg_[row->index];
}

Result<void, Errno> Lapic::write(u32 index, u64 value)
{
    const Register* row = base::find_row(kRegisters, &Register::index, index & 0xff);
    if (!row || !row->writable || (value & ~row->mask))
        return fail(Errno{EINVAL});
    reg_[row->index] = value;
    if (row->index == 0x3f) { // a fixed interrupt to itself
        reg_[0x30] = u64{value & 0xff} | bit(18);
        reg_[0x3f] = 0;
    }
    if (row->index == 0x30 || row->index == 0x3f)
        icr_written_ = true;
    return {};
}

u64 Lapic::take_icr()
{
    if (!icr_written_)
        return 0;
    icr_written_ = false;
    return reg_[0x30];
}

} // namespace seamless::kvm
