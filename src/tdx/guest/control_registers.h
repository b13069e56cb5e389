// SPDX-License-Identifier: Apache-2.0
// The bits of CR0 and CR4 that the module owns. TDX ABI: "CR0 Handling", "CR4 Handling".
#pragma once

#include "spec/x86.h"
#include "tdx/td.h"

namespace seamless::tdx {

inline constexpr u64 kCr0Ignored = bits(28, 19) | bit(17) | bits(15, 6);
inline constexpr u64 kCr0Owned =
    spec::cr0::PE | spec::cr0::NE | spec::cr0::NW | spec::cr0::CD | kCr0Ignored | bits(63, 32);

[[nodiscard]] inline u64 cr4_owned(const Td& td)
{
    u64 owned = spec::cr4::MCE | spec::cr4::VMXE | spec::cr4::SMXE | bit(15) | bit(19) | bit(26) | bit(27) |
                bits(31, 29) | bits(63, 33);
    if (!(td.xfam & spec::xfam::PKRU))
        owned |= spec::cr4::PKE;
    if ((td.xfam & spec::xfam::CET) != spec::xfam::CET)
        owned |= spec::cr4::CET;
    if (!(td.xfam & spec::xfam::UINTR))
        owned |= bit(25);
    if (!(td.attributes & spec::td_attributes::PKS))
        owned |= spec::cr4::PKS;
    return owned;
}

} // namespace seamless::tdx
