// SPDX-License-Identifier: Apache-2.0
// Metadata field ids of the TDX module. TDX ABI: "Metadata Access: Field Identifier", and the tables of TDR,
// TDCS, TDVPS and global fields.
#pragma once

#include "base/bits.h"

namespace seamless::spec {

// Layout: field code 23:0, element size code 33:32 (log2 of bytes), last element 37:34, last field 46:38,
// increment size 50, write mask valid 51, context 54:52, class 61:56, non-architectural marker 63.
namespace md {

inline constexpr u64 kFirst = ~u64{0}; // version 1: asks for the first field of the context

enum class Context : u8 { system = 0, td = 1, vcpu = 2 };

[[nodiscard]] constexpr u64 code(u64 id) { return field(id, 23, 0); }
[[nodiscard]] constexpr unsigned class_of(u64 id) { return static_cast<unsigned>(field(id, 61, 56)); }
[[nodiscard]] constexpr unsigned bytes_of(u64 id) { return 1u << field(id, 33, 32); }
[[nodiscard]] constexpr Context context_of(u64 id) { return static_cast<Context>(field(id, 54, 52)); }
// What identifies a field: class and code. Size, context and the marker are ignored on input.
[[nodiscard]] constexpr u64 key_of(u64 id) { return id & (bits(61, 56) | bits(23, 0)); }
// Bits that must be zero in an access to one element.
inline constexpr u64 kMustBeZero = bits(31, 24) | bits(49, 47) | bit(55) | bit(62) | bits(46, 34);

// The head of a sequence in a list of fields: the id of its first field, and one less than their number.
inline constexpr u64 kOneFieldMore = bit(38), kMaxFieldsInSequence = 512;

// Field ids as a host composes them.
[[nodiscard]] constexpr u64 vcpu_field(unsigned cls, u64 field_code, bool arch = true)
{
    return (arch ? 0 : bit(63)) | u64{cls} << 56 | u64{2} << 52 | u64{3} << 32 | field_code;
}
[[nodiscard]] constexpr u64 vmcs_field(u32 encoding) { return vcpu_field(0, encoding); }
// Element 0 is EBX:EAX, 1 is EDX:ECX. Subleaf -1: the leaf has none.
[[nodiscard]] constexpr u64 cpuid_value(u32 leaf, u32 subleaf, unsigned element)
{
    const u64 sub = subleaf == ~0u ? 0x1fe : u64{subleaf & 0x7f} << 1;
    return 0x9410000300000000 | u64{leaf >> 31} << 16 | u64{leaf & 0x7f} << 9 | sub | element;
}

// System.
inline constexpr u64 VENDOR_ID = 0x0800000200000000, MINOR_VERSION = 0x0800000100000003,
                     MAJOR_VERSION = 0x0800000100000004, UPDATE_VERSION = 0x0800000100000005,
                     INTERNAL_VERSION = 0x0800000100000006, BUILD_DATE = 0x8800000200000001,
                     BUILD_NUM = 0x8800000100000002, SYS_ATTRIBUTES = 0x0A00000200000000,
                     NUM_TDX_FEATURES = 0x0A00000000000001, TDX_FEATURES0 = 0x0A00000300000008,
                     NUM_CMRS = 0x9000000100000000, CMR_BASE = 0x9000000300000080,
                     CMR_SIZE = 0x9000000300000100, MAX_TDMRS = 0x9100000100000008,
                     MAX_RESERVED_PER_TDMR = 0x9100000100000009, PAMT_4K_ENTRY_SIZE = 0x9100000100000010,
                     PAMT_2M_ENTRY_SIZE = 0x9100000100000011, PAMT_1G_ENTRY_SIZE = 0x9100000100000012,
                     TDR_BASE_SIZE = 0x9800000100000000, TDCS_BASE_SIZE = 0x9800000100000100,
                     TDCS_SIZE_PER_L2 = 0x9800000100000101, TDVPS_BASE_SIZE = 0x9800000100000200,
                     TDVPS_SIZE_PER_L2 = 0x9800000100000201, ATTRIBUTES_FIXED0 = 0x1900000300000000,
                     ATTRIBUTES_FIXED1 = 0x1900000300000001, XFAM_FIXED0 = 0x1900000300000002,
                     XFAM_FIXED1 = 0x1900000300000003, NUM_CPUID_CONFIG = 0x9900000100000004,
                     CONFIG_FLAGS_FIXED0 = 0x9900000300000006, CONFIG_FLAGS_FIXED1 = 0x9900000300000007,
                     MAX_VCPUS_PER_TD = 0x9900000100000008, CPUID_CONFIG_LEAVES = 0x9900000300000400,
                     CPUID_CONFIG_VALUES = 0x9900000300000500,
                     ARCH_CAPABILITIES_CONFIG_MASK = 0x9900000300000600;

// TD.
inline constexpr u64 FATAL = 0x8010000000000001, NUM_TDCX = 0x8010000200000002, CHLDCNT = 0x8010000300000004,
                     LIFECYCLE_STATE = 0x8010000200000005, TD_UUID = 0x8010000300000020,
                     HKID = 0x8110000100000001, NUM_VCPUS = 0x9010000200000001, OP_STATE = 0x9010000200000004,
                     NUM_L2_VMS = 0x9010000100000005, ATTRIBUTES = 0x1110000300000000,
                     XFAM = 0x1110000300000001, MAX_VCPUS = 0x1110000200000002, GPAW = 0x1110000000000003,
                     EPTP = 0x1110000300000004, TSC_OFFSET = 0x111000030000000A,
                     TSC_MULTIPLIER = 0x111000030000000B, TSC_FREQUENCY = 0x111000010000000C,
                     VIRTUAL_TSC = 0x111000030000000D, NUM_CPUID_VALUES = 0x911000010000000E,
                     NOTIFY_ENABLES = 0x9110000300000010, HP_LOCK_TIMEOUT = 0x9110000300000011,
                     CONFIG_FLAGS = 0x9110000300000016, TD_CTLS = 0x9110000300000017,
                     TOPOLOGY_ENUM_CONFIGURED = 0x9110000000000019, VE_REDUCTION_VALID = 0x911000000000001A,
                     TD_EPOCH = 0x9210000300000000, REFCOUNT = 0x9210000100000001, MRTD = 0x1310000300000000,
                     MRCONFIGID = 0x1310000300000010, MROWNER = 0x1310000300000018,
                     MROWNERCONFIG = 0x1310000300000020, RTMR = 0x1310000300000040,
                     CPUID_VALUES = 0x9410000300000000, VIRTUAL_ARCH_CAPABILITIES = 0x961000030000010A,
                     SERVTD_NUM = 0x9910000100000006, SERVTD_HASH = 0x9910000300000000,
                     X2APIC_IDS = 0x9C10000200000000;

// vCPU.
inline constexpr u64 VCPU_STATE = 0xA020000000000000, VCPU_INDEX = 0xA020000200000002,
                     CPUID_SUPERVISOR_VE = 0xA020000000000007, CPUID_USER_VE = 0xA020000000000008,
                     PEND_NMI = 0x202000000000000B, LAST_EXIT_TSC = 0xA02000030000000A,
                     CURR_VM = 0xA020000100000041, VCPU_STATE_DETAILS = 0x9120000300000100,
                     VCPU_XCR0 = 0x1120000300000020, VCPU_CR2 = 0x1120000300000028,
                     VCPU_GPR = 0x1020000300000000, VE_EXIT_REASON = 0x0220000200000000,
                     VE_VALID = 0x0220000200000001;
// Bit of VCPU_STATE_DETAILS: a virtual interrupt is pending and deliverable.
inline constexpr u64 VMXIP = bit(0);

} // namespace md
} // namespace seamless::spec
