// SPDX-License-Identifier: Apache-2.0
// What this module reports about itself and its platform through TDH.SYS.RD, and checks TD_PARAMS against.
#pragma once

#include "cpu/cpuid.h"
#include "spec/tdx_abi.h"

namespace seamless::tdx {

inline constexpr u16 kMajorVersion = 1, kMinorVersion = 5, kUpdateVersion = 8, kBuildNumber = 1;
inline constexpr u32 kBuildDate = 20250101;
inline constexpr u64 kFeatures0 = spec::tdx_features0::VP_RD_WR | spec::tdx_features0::NO_RBP_MOD |
                                  spec::tdx_features0::TOPOLOGY_ENUM | spec::tdx_features0::VE_REDUCTION;

inline constexpr u64 kAttributesFixed0 = spec::td_attributes::DEBUG | spec::td_attributes::SEPT_VE_DISABLE;
inline constexpr u64 kConfigFlagsFixed0 =
    spec::config_flags::GPAW | spec::config_flags::FLEXIBLE_PENDING_VE | spec::config_flags::NO_RBP_MOD;

// XFAM bits that the ABI allows and this processor has; state that its XSAVE area cannot hold is left out.
[[nodiscard]] inline u64 xfam_fixed0()
{
    const u64 held = spec::xfam::FIXED0 & ~(spec::xfam::PT | spec::xfam::UINTR | spec::xfam::LBR);
    return held & (cpu::supported_xcr0() | cpu::supported_xss());
}

// IA32_ARCH_CAPABILITIES: RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, MDS_NO, PSCHANGE_MC_NO, TAA_NO,
// SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, RRSBA.
inline constexpr u64 kArchCapabilities =
    bit(0) | bit(1) | bit(3) | bit(5) | bit(6) | bit(8) | bit(13) | bit(14) | bit(15) | bit(19);
inline constexpr u64 kArchCapabilitiesConfigMask = 0;

} // namespace seamless::tdx
