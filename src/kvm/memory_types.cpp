// SPDX-License-Identifier: Apache-2.0
// The same checks for plain VMs and TDs, for guests and user space.
#include "kvm/memory_types.h"

#include "kvm/vcpu.h"
#include "spec/x86.h"

namespace seamless::kvm {

using namespace spec;

namespace {

constexpr u32 kCapability = static_cast<u32>(Msr::IA32_MTRRCAP);
constexpr u32 kDefType = static_cast<u32>(Msr::IA32_MTRR_DEF_TYPE);
constexpr u32 kFirst = 0x200, kLastVariable = 0x20f; // bases even, masks odd
constexpr u32 kFix64k = 0x250, kFix16kFirst = 0x258, kFix16kLast = 0x259, kFix4kFirst = 0x268, kLast = 0x26f;

constexpr u64 kMtrrTypes = bit(0) | bit(1) | bit(4) | bit(5) | bit(6); // UC, WC, WT, WP, WB
constexpr u64 kPatTypes = kMtrrTypes | bit(7);                         // and UC-

bool is_type(u64 value, u64 types) { return value < 8 && test(types, static_cast<unsigned>(value)); }

bool eight_types(u64 value, u64 types)
{
    for (; value != 0; value >>= 8)
        if (!is_type(value & 0xff, types))
            return false;
    return true;
}

bool def_type_valid(u64 value)
{
    constexpr u64 kDefined = bits(11, 10) | bits(7, 0); // E, FE, the type
    return !(value & ~kDefined) && is_type(value & 0xff, kMtrrTypes);
}

bool variable_valid(const Vcpu& vcpu, u32 index, u64 value)
{
    const unsigned width = cpuid_maxphyaddr(vcpu);
    const u64 beyond = width < 64 ? ~(bit(width) - 1) : 0;
    const bool mask = index & 1;
    return !(value & (beyond | (mask ? bits(10, 0) : bits(11, 8)))) &&
           (mask || is_type(value & 0xff, kMtrrTypes));
}

} // namespace

bool is_mtrr_number(u32 index)
{
    return index == kCapability || index == kDefType || (index >= kFirst && index <= kLast);
}

bool has_mtrr(u32 index)
{
    return is_mtrr_number(index) && (index <= kLastVariable || index == kFix64k || index == kFix16kFirst ||
                                     index == kFix16kLast || index >= kFix4kFirst);
}

bool mtrr_valid(const Vcpu& vcpu, u32 index, u64 value)
{
    if (index == kCapability || !has_mtrr(index))
        return false;
    if (index == kDefType)
        return def_type_valid(value);
    return index >= kFix64k ? eight_types(value, kMtrrTypes) : variable_valid(vcpu, index, value);
}

bool pat_valid(u64 value) { return eight_types(value, kPatTypes); }

} // namespace seamless::kvm
