// SPDX-License-Identifier: Apache-2.0
// The ABI of the Intel TDX module: leaves of SEAMCALL and TDCALL, operands, states. Names keep the manual's
// spelling. TDX ABI: "SEAMCALL (TDH) Interface Functions", "TDCALL (TDG) Interface Functions".
#pragma once

#include "base/address.h"
#include "spec/tdx_fields.h"
#include "spec/tdx_ghci.h"
#include "spec/tdx_status.h"
#include "spec/tdx_structs.h"

namespace seamless::spec {

// RAX of SEAMCALL and TDCALL: leaf 15:0, version 23:16, the rest zero.
enum class TdhLeaf : u16 {
    VP_ENTER = 0,
    MNG_ADDCX = 1,
    MEM_PAGE_ADD = 2,
    MEM_SEPT_ADD = 3,
    VP_ADDCX = 4,
    MEM_PAGE_RELOCATE = 5,
    MEM_PAGE_AUG = 6,
    MEM_RANGE_BLOCK = 7,
    MNG_KEY_CONFIG = 8,
    MNG_CREATE = 9,
    VP_CREATE = 10,
    MNG_RD = 11,
    MEM_RD = 12,
    MNG_WR = 13,
    MEM_WR = 14,
    MEM_PAGE_DEMOTE = 15,
    MR_EXTEND = 16,
    MR_FINALIZE = 17,
    VP_FLUSH = 18,
    MNG_VPFLUSHDONE = 19,
    MNG_KEY_FREEID = 20,
    MNG_INIT = 21,
    VP_INIT = 22,
    MEM_PAGE_PROMOTE = 23,
    PHYMEM_PAGE_RDMD = 24,
    MEM_SEPT_RD = 25,
    VP_RD = 26,
    MNG_KEY_RECLAIMID = 27,
    PHYMEM_PAGE_RECLAIM = 28,
    MEM_PAGE_REMOVE = 29,
    MEM_SEPT_REMOVE = 30,
    SYS_KEY_CONFIG = 31,
    SYS_INFO = 32,
    SYS_INIT = 33,
    SYS_RD = 34,
    SYS_LP_INIT = 35,
    SYS_TDMR_INIT = 36,
    SYS_RDALL = 37,
    MEM_TRACK = 38,
    MEM_RANGE_UNBLOCK = 39,
    PHYMEM_CACHE_WB = 40,
    PHYMEM_PAGE_WBINVD = 41,
    MEM_SEPT_WR = 42,
    VP_WR = 43,
    SYS_LP_SHUTDOWN = 44,
    SYS_CONFIG = 45,
    SERVTD_BIND = 48,
    SERVTD_PREBIND = 49,
    SYS_SHUTDOWN = 52,
    SYS_UPDATE = 53,
};

enum class TdgLeaf : u16 {
    VP_VMCALL = 0,
    VP_INFO = 1,
    MR_RTMR_EXTEND = 2,
    VP_VEINFO_GET = 3,
    MR_REPORT = 4,
    VP_CPUIDVE_SET = 5,
    MEM_PAGE_ACCEPT = 6,
    VM_RD = 7,
    VM_WR = 8,
    VP_RD = 9,
    VP_WR = 10,
    SYS_RD = 11,
    SYS_RDALL = 12,
    SERVTD_RD = 18,
    SERVTD_WR = 20,
    MR_VERIFYREPORT = 22,
    MEM_PAGE_ATTR_RD = 23,
    MEM_PAGE_ATTR_WR = 24,
};

[[nodiscard]] constexpr u64 leaf_of(u64 rax) { return field(rax, 15, 0); }
[[nodiscard]] constexpr unsigned version_of(u64 rax) { return static_cast<unsigned>(field(rax, 23, 16)); }
// RAX that calls `leaf`.
template <typename Leaf>
[[nodiscard]] constexpr u64 leaf_rax(Leaf leaf, unsigned version = 0)
{
    return static_cast<u64>(leaf) | u64{version} << 16;
}

// An EPT mapping operand (RCX of the MEM leaves): level 2:0, GPA 51:12. Level 0 = 4 KiB, 1 = 2 MiB, 2 = 1
// GiB...
[[nodiscard]] constexpr u64 gpa_mapping(Gpa gpa, unsigned level) { return gpa.page().value() | level; }

// The second word of entry information (RDX): level 2:0, public state 15:8.
[[nodiscard]] constexpr unsigned sept_info_level(u64 rdx) { return static_cast<unsigned>(field(rdx, 2, 0)); }
[[nodiscard]] constexpr unsigned sept_info_state(u64 rdx) { return static_cast<unsigned>(field(rdx, 15, 8)); }

// States of a secure EPT entry as the host sees them.
enum class SeptState : u8 {
    FREE = 0,
    BLOCKED = 1,
    PENDING = 2,
    PENDING_BLOCKED = 3,
    MAPPED = 4,
    REMOVED = 5,
    NL_BLOCKED = 129,
    NL_MAPPED = 132,
};

// Page types in the PAMT.
enum class TdxPageType : u8 { NDA = 0, RSVD = 1, REG = 3, TDR = 4, TDCX = 5, TDVPR = 6, EPT = 8 };

enum class TdLifecycle : u8 { HKID_ASSIGNED = 0, KEYS_CONFIGURED = 1, BLOCKED = 2, TEARDOWN = 3 };

enum class TdOpState : u8 {
    UNINITIALIZED = 0,
    INITIALIZED = 1,
    RUNNABLE = 2,
    LIVE_EXPORT = 3,
    PAUSED_EXPORT = 4,
    POST_EXPORT = 5,
    MEMORY_IMPORT = 6,
    STATE_IMPORT = 7,
    POST_IMPORT = 8,
    LIVE_IMPORT = 9,
    FAILED_IMPORT = 10,
    START_IMPORT = 11,
    START_EXPORT = 12,
};

enum class TdVcpuState : u8 { UNINITIALIZED = 0, READY = 2, ACTIVE = 4, DISABLED = 8 };

// ATTRIBUTES of a TD.
namespace td_attributes {
inline constexpr u64 DEBUG = bit(0), PMT_PROF = bit(6), ICSSD = bit(16), LASS = bit(27),
                     SEPT_VE_DISABLE = bit(28), MIGRATABLE = bit(29), PKS = bit(30), KL = bit(31),
                     TPA = bit(62), PERFMON = bit(63);
}

// XFAM: XCR0 and IA32_XSS bits that a TD may use.
namespace xfam {
inline constexpr u64 X87 = bit(0), SSE = bit(1), AVX = bit(2), AVX512 = bits(7, 5), PT = bit(8),
                     PKRU = bit(9), CET = bits(12, 11), UINTR = bit(14), LBR = bit(15), AMX = bits(18, 17);
inline constexpr u64 FIXED1 = X87 | SSE;
inline constexpr u64 FIXED0 = X87 | SSE | AVX | AVX512 | PT | PKRU | CET | UINTR | LBR | AMX;
} // namespace xfam

// CONFIG_FLAGS (EXEC_CONTROLS) of TD_PARAMS.
namespace config_flags {
inline constexpr u64 GPAW = bit(0), FLEXIBLE_PENDING_VE = bit(1), NO_RBP_MOD = bit(2), MAXPA_VIRT = bit(3),
                     MAXGPA_VIRT = bit(4);
}

namespace td_ctls {
inline constexpr u64 PENDING_VE_DISABLE = bit(0), ENUM_TOPOLOGY = bit(1), VIRT_CPUID2 = bit(2),
                     REDUCE_VE = bit(3), LOCK = bit(63);
}

namespace tdx_features0 {
inline constexpr u64 VP_RD_WR = bit(3), NO_RBP_MOD = bit(18), TOPOLOGY_ENUM = bit(20), VE_REDUCTION = bit(30);
}

// RCX of TDH.VP.ENTER.
namespace vp_enter_rcx {
inline constexpr u64 TDVPR = bits(51, 12), HOST_RECOVERABILITY_HINT = bit(52), RESUME_L1 = bit(53);
}

// RDX[3:0] of a TD exit for an EPT violation: what kind of violation it was.
enum class ExtendedExitQual : u8 {
    NONE = 0,
    ACCEPT = 1,
    GPA_DETAILS = 2,
    ATTR_WR = 5,
    PENDING_EPT_VIOLATION = 6
};

// TDCS and TDVPS of this module, in pages.
inline constexpr unsigned kTdcsPages = 9;
inline constexpr unsigned kTdvpsPages = 6;
inline constexpr u64 kTscUnitHz = 25'000'000;

} // namespace seamless::spec
