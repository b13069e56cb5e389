// SPDX-License-Identifier: Apache-2.0
// Memory structures of the TDX ABI: TD_PARAMS, TDMR_INFO, TDREPORT. TDX ABI: "ABI Reference: Data Types".
#pragma once

#include <cstddef>

#include "base/bits.h"

namespace seamless::spec {

inline constexpr std::size_t kSha384Bytes = 48;

struct CpuidValues {
    u32 eax, ebx, ecx, edx;
};
inline constexpr unsigned kMaxCpuidConfig = 48;

// TD_PARAMS, 1024 bytes, 1024-aligned, in shared memory.
struct TdParams {
    u64 attributes;
    u64 xfam;
    u16 max_vcpus;
    u8 num_l2_vms;
    u8 msr_config_ctls;
    u32 reserved0;
    u64 eptp_controls;
    u64 config_flags;
    u16 tsc_frequency; // in units of 25 MHz
    u8 reserved1[38];
    u8 mrconfigid[kSha384Bytes];
    u8 mrowner[kSha384Bytes];
    u8 mrownerconfig[kSha384Bytes];
    u64 arch_capabilities_config;
    u8 reserved2[24];
    CpuidValues cpuid_config[kMaxCpuidConfig]; // in the order of CPUID_CONFIG_LEAVES
};
static_assert(sizeof(TdParams) == 1024 && offsetof(TdParams, eptp_controls) == 24 &&
              offsetof(TdParams, mrconfigid) == 80 && offsetof(TdParams, arch_capabilities_config) == 224 &&
              offsetof(TdParams, cpuid_config) == 256);

inline constexpr unsigned kMaxTdmrs = 64;
inline constexpr unsigned kMaxReservedPerTdmr = 16;
inline constexpr unsigned kPamtEntryBytes = 16;

struct TdmrReservedArea {
    u64 offset;
    u64 size; // 0 ends the list
};

// TDMR_INFO, 512-aligned.
struct TdmrInfo {
    u64 base;
    u64 size;
    u64 pamt_1g_base, pamt_1g_size;
    u64 pamt_2m_base, pamt_2m_size;
    u64 pamt_4k_base, pamt_4k_size;
    TdmrReservedArea reserved[kMaxReservedPerTdmr];
};
static_assert(sizeof(TdmrInfo) == 64 + 16 * kMaxReservedPerTdmr);

struct ReportType {
    u8 type; // 0x81: TDX
    u8 subtype;
    u8 version;
    u8 reserved;
};

struct ReportMac {
    ReportType report_type;
    u8 reserved0[12];
    u8 cpusvn[16];
    u8 tee_tcb_info_hash[kSha384Bytes];
    u8 tee_info_hash[kSha384Bytes];
    u8 reportdata[64];
    u8 reserved1[32];
    u8 mac[32]; // over what comes before
};
static_assert(sizeof(ReportMac) == 256 && offsetof(ReportMac, mac) == 224 &&
              offsetof(ReportMac, reportdata) == 128);

struct TdInfo {
    u64 attributes;
    u64 xfam;
    u8 mrtd[kSha384Bytes];
    u8 mrconfigid[kSha384Bytes];
    u8 mrowner[kSha384Bytes];
    u8 mrownerconfig[kSha384Bytes];
    u8 rtmr[4][kSha384Bytes];
    u8 servtd_hash[kSha384Bytes];
    u8 reserved[64];
};
static_assert(sizeof(TdInfo) == 512);

inline constexpr std::size_t kTeeTcbInfoBytes = 239;

// TDREPORT, 1024 bytes.
struct TdReport {
    ReportMac mac;
    u8 tee_tcb_info[kTeeTcbInfoBytes]; // VALID u64, TEE_TCB_SVN[16], MRSEAM[48], MRSIGNERSEAM[48], ATTRIBUTES
                                       // u64, ...
    u8 reserved[17];
    TdInfo td_info;
};
static_assert(sizeof(TdReport) == 1024 && offsetof(TdReport, td_info) == 512);

inline constexpr u8 kReportTypeTdx = 0x81;

} // namespace seamless::spec
