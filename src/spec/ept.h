// SPDX-License-Identifier: Apache-2.0
// EPT pointers and entries. SDM: "Extended Page-Table Mechanism (EPT)".
#pragma once

#include "base/address.h"

namespace seamless::spec::ept {

inline constexpr u64 R = bit(0), W = bit(1), X = bit(2), RWX = R | W | X;
inline constexpr u64 MEMTYPE = bits(5, 3), IPAT = bit(6), LEAF = bit(7), A = bit(8), D = bit(9), XU = bit(10);
inline constexpr u64 ADDRESS = bits(51, 12);
inline constexpr u64 SUPPRESS_VE = bit(63);
inline constexpr u64 MEMTYPE_UC = 0, MEMTYPE_WB = 6;
inline constexpr unsigned kEntriesPerTable = 512;

// EPTP: memory type 2:0, page-walk length minus one 5:3, accessed and dirty flags enabled 6, table 51:12.
inline constexpr u64 EPTP_WB = 6, EPTP_AD = bit(6);
[[nodiscard]] constexpr u64 eptp_walk_length(unsigned levels) { return u64{levels - 1} << 3; }
[[nodiscard]] constexpr unsigned eptp_levels(u64 eptp)
{
    return static_cast<unsigned>(field(eptp, 5, 3)) + 1;
}

// `level` counts from the leaf: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB.
[[nodiscard]] constexpr unsigned index(u64 gpa, unsigned level)
{
    return static_cast<unsigned>(gpa >> (kPageShift + 9 * level)) & (kEntriesPerTable - 1);
}
[[nodiscard]] constexpr u64 level_size(unsigned level) { return kPageSize << (9 * level); }

// Exit qualification of an EPT violation. SDM: "Exit Qualification for EPT Violations".
namespace qual {
inline constexpr u64 READ = bit(0), WRITE = bit(1), FETCH = bit(2), WAS_R = bit(3), WAS_W = bit(4),
                     WAS_X = bit(5), WAS_XU = bit(6), GLA_VALID = bit(7), GLA_TRANSLATED = bit(8),
                     USER_LINEAR = bit(9), RW_LINEAR = bit(10), NX_LINEAR = bit(11), NMI_UNBLOCK = bit(12);
}

} // namespace seamless::spec::ept
