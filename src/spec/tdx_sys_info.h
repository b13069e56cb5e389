// SPDX-License-Identifier: Apache-2.0
// TDSYSINFO_STRUCT and CMR_INFO, which TDH.SYS.INFO writes. TDX ABI: "ABI Reference: Data Types".
#pragma once

#include <cstddef>

#include "base/bits.h"

namespace seamless::spec {

struct CpuidConfigInfo {
    u32 leaf, subleaf; // subleaf -1: the leaf has none
    u32 eax, ebx, ecx, edx;
};
inline constexpr unsigned kMaxCpuidConfigInfo = 37;

// 1024 bytes, 1024-aligned, in shared memory.
struct TdSysInfo {
    u32 attributes, vendor_id, build_date;
    u16 build_num, minor_version, major_version;
    u8 sys_rd, reserved0[13];
    u16 max_tdmrs, max_reserved_per_tdmr, pamt_entry_size;
    u8 reserved1[10];
    u16 tdcs_base_size, reserved2, tdvps_base_size;
    u8 tdvps_xfam_dependent_size, reserved3[9];
    u64 attributes_fixed0, attributes_fixed1, xfam_fixed0, xfam_fixed1;
    u8 reserved4[32];
    u32 num_cpuid_config;
    CpuidConfigInfo cpuid_config[kMaxCpuidConfigInfo];
    u32 reserved5;
};
static_assert(sizeof(TdSysInfo) == 1024 && offsetof(TdSysInfo, sys_rd) == 18 &&
              offsetof(TdSysInfo, max_tdmrs) == 32 && offsetof(TdSysInfo, tdcs_base_size) == 48 &&
              offsetof(TdSysInfo, tdvps_base_size) == 52 && offsetof(TdSysInfo, attributes_fixed0) == 64 &&
              offsetof(TdSysInfo, num_cpuid_config) == 128);

// An entry of the CMR array, 512-aligned.
struct CmrInfo {
    u64 base, size;
};
inline constexpr u64 kMaxCmrs = 32;

} // namespace seamless::spec
