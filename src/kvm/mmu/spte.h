// SPDX-License-Identifier: Apache-2.0
// SPTEs: KVM's EPT entries. Bit 63 suppresses #VE in every entry but an MMIO SPTE; bit 11 says "memory is
// behind it". Per VM: the value that marks MMIO and the value of an entry nobody has touched, so that tests
// can try others.
#pragma once

#include "base/address.h"
#include "spec/ept.h"

namespace seamless::kvm {

inline constexpr u64 SPTE_MMU_PRESENT_MASK = bit(11);
inline constexpr u64 SPTE_HOST_WRITABLE = bit(57), SPTE_MMU_WRITABLE = bit(58);
inline constexpr u64 SHADOW_NONPRESENT_VALUE = spec::ept::SUPPRESS_VE;
inline constexpr u64 SHADOW_PRESENT_MASK = spec::ept::SUPPRESS_VE;
inline constexpr u64 FROZEN_SPTE = 0x80000000000005a0;
inline constexpr u64 SHADOW_MMIO_MASK = spec::ept::RWX | spec::ept::SUPPRESS_VE;
// Writable, executable, not readable: a misconfiguration. SDM: "EPT Misconfigurations".
inline constexpr u64 SHADOW_MMIO_VALUE_VMX = spec::ept::W | spec::ept::X;
inline constexpr u64 kMmioGenerationMask = (u64{1} << 19) - 1;

[[nodiscard]] constexpr bool is_shadow_present_pte(u64 spte) { return spte & SPTE_MMU_PRESENT_MASK; }
[[nodiscard]] constexpr bool is_last_spte(u64 spte, unsigned level)
{
    return level == 0 || (spte & spec::ept::LEAF);
}
[[nodiscard]] constexpr bool is_mmio_spte(u64 spte, u64 mmio_value)
{
    return (spte & SHADOW_MMIO_MASK) == mmio_value && spte != FROZEN_SPTE;
}

// The low 8 bits of the generation go to 10:3, the high 11 to 62:52.
[[nodiscard]] constexpr u64 make_mmio_spte(Gfn gfn, u64 generation, u64 mmio_value)
{
    return mmio_value | field(generation, 7, 0) << 3 | field(generation, 18, 8) << 52 |
           gfn.value() << kPageShift;
}
[[nodiscard]] constexpr u64 get_mmio_spte_generation(u64 spte)
{
    return field(spte, 10, 3) | field(spte, 62, 52) << 8;
}

[[nodiscard]] constexpr u64 make_nonleaf_spte(Hpa table)
{
    return table.value() | SPTE_MMU_PRESENT_MASK | SHADOW_PRESENT_MASK | spec::ept::RWX | spec::ept::A;
}

// Write-back memory. `ignore_pat`: the guest's PAT has no say (the quirk that TDs switch off).
[[nodiscard]] constexpr u64 make_leaf_spte(Hpa page, unsigned level, bool writable, bool ignore_pat)
{
    using namespace spec;
    u64 spte = page.value() | SPTE_MMU_PRESENT_MASK | SHADOW_PRESENT_MASK | ept::R | ept::X | ept::A |
               ept::MEMTYPE_WB << 3;
    if (ignore_pat)
        spte |= ept::IPAT;
    if (level > 0)
        spte |= ept::LEAF;
    if (writable)
        spte |= ept::W | ept::D | SPTE_HOST_WRITABLE | SPTE_MMU_WRITABLE;
    return spte;
}

static_assert(get_mmio_spte_generation(make_mmio_spte(Gfn(0xfeb00), 0x5a5a5, 6)) == 0x5a5a5);
static_assert(is_mmio_spte(make_mmio_spte(Gfn(0xfeb00), 0x7ffff, 0), 0));
static_assert(!is_mmio_spte(SHADOW_NONPRESENT_VALUE, 0) && !is_mmio_spte(FROZEN_SPTE, 0));

} // namespace seamless::kvm
