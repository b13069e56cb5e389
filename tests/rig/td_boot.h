// SPDX-License-Identifier: Apache-2.0
// The start of a TD of a few instructions: its boot page is the last below 4 GiB, where the module starts a
// TD in 32-bit protected mode; its page tables lie at 1 MiB. Virtual addresses from 4 GiB on are the shared
// view of the fourth GiB, from 5 GiB on that of the first; below, everything is mapped as it is.
#pragma once

#include <algorithm>

#include "rig/memory.h"

// For the assembly of a boot page that begins at `begin`. The tables must be loaded before long mode begins;
// its code segment is selector 8.
asm(R"(
    .macro td_load_tables begin, gdtr
    lgdtl 0xfffff000 + (\gdtr - \begin)
    movl $0x100000, %eax
    movl %eax, %cr3
    .endm
    .macro td_enter_long_mode begin, target, cr4
    movl %cr4, %eax
    orl $\cr4, %eax
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $8, $0xfffff000 + (\target - \begin)
    .endm
    .macro td_gate begin, handler
    .word (\handler - \begin) + 0xf000, 8, 0x8e00, 0xffff
    .quad 0
    .endm
)");

namespace seamless::rig {

constexpr u64 kTdShared = bit(47);
constexpr u64 kTdBoot = 0xfffff000, kTdTables = 0x100000;
constexpr u64 kTdHighView = 0x100000000, kTdSharedView = 0x140000000;

// The code, and the reset vector: a jump to the start of the page.
inline void fill_boot_page(Memory& page, const u8* begin, const u8* end)
{
    std::copy(begin, end, page.at);
    page.at[0xff0] = 0xe9;
    page.put<u32>(0xff1, static_cast<u32>(0x1000 - 0xff5) - 0x1000);
}

// PML4 and PDPT, for the first two pages at kTdTables.
inline void fill_page_tables(Memory& tables, u64 shared = kTdShared)
{
    constexpr u64 kTable = 3, kGib = 0x83;
    tables.put<u64>(0, (kTdTables + 0x1000) | kTable);
    for (u64 i = 0; i < 4; ++i)
        tables.put<u64>(0x1000 + 8 * i, i << 30 | kGib);
    tables.put<u64>(0x1000 + 8 * 4, shared | u64{3} << 30 | kGib);
    tables.put<u64>(0x1000 + 8 * 5, shared | kGib);
}

} // namespace seamless::rig
