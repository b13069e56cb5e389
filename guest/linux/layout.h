// SPDX-License-Identifier: Apache-2.0
// Where the Linux loader puts things, beside what image.ld has: physical addresses, mapped one to one.
#pragma once

#include "base/bits.h"

namespace seamless::guest::layout {

inline constexpr u64 kMiB = u64{1} << 20;

// Of image.ld: page tables, HOB, this program and the mailbox that parked processors watch. It stays theirs.
inline constexpr u64 kFirmware = 0x800000;
inline constexpr u64 kFirmwareEnd = 0x840000;
// ACPI tables; the kernel may take it when it has read them.
inline constexpr u64 kTables = kFirmwareEnd;
inline constexpr u64 kTablesEnd = 0x87f000;
// EFI's tables and runtime services, which the kernel calls as long as it runs.
inline constexpr u64 kEfi = kTablesEnd;
inline constexpr u64 kEfiEnd = 0x880000;
// What the kernel reads early and copies: boot parameters, command line.
inline constexpr u64 kBootParameters = 0x880000;
inline constexpr u64 kCommandLine = 0x882000;
inline constexpr u64 kCommandLineLimit = 0x2000;
inline constexpr u64 kEfiMap = 0x884000; // which the kernel reserves
// The setup part of the kernel's file: at most 64 sectors.
inline constexpr u64 kSetup = 0x890000;
inline constexpr u64 kSetupLimit = 0x10000;
// What the host may read and write: one page for requests, the rest for data. A page of 2 MiB.
inline constexpr u64 kShared = 0xa00000;
inline constexpr u64 kSharedSize = 2 * kMiB;

inline constexpr u64 kLowRamEnd = 0x9f000; // the PC's legacy area begins
inline constexpr u64 kLowRamResume = kMiB;

} // namespace seamless::guest::layout
