// SPDX-License-Identifier: Apache-2.0
// A random program and what surrounds it: its pages, its registers, and what the host does to it as it runs.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/address.h"
#include "cpu/guest_context.h"
#include "diff/random.h"

namespace seamless::diff {

// Linear layout. All of it lies under one page table, so that one look compares every entry.
namespace layout {
inline constexpr u64 kData = 0x410000;
inline constexpr unsigned kDataPages = 12;
inline constexpr u64 kStack = 0x480000;
inline constexpr unsigned kStackPages = 16;
inline constexpr u64 kStackTop = kStack + kStackPages * kPageSize;
inline constexpr u64 kTable = 0x4f0000; // addresses of functions: read-only
inline constexpr u64 kCode = 0x500000;
inline constexpr unsigned kCodePages = 4;
inline constexpr u64 kCodeBytes = kCodePages * kPageSize;
inline constexpr u64 kCodeAlias = 0x540000; // the same pages once more
inline constexpr u64 kRegion = 0x400000;    // what the page table covers
inline constexpr u64 kRegionEnd = 0x600000;

// Frames, in the order of data, stack, table, code: neighbours of the linear space are none in memory.
inline constexpr u64 kFrames = 0x300000;
inline constexpr unsigned kFrameCount = 64;
inline constexpr unsigned kStackFrame = kDataPages, kTableFrame = kStackFrame + kStackPages,
                          kCodeFrame = kTableFrame + 1;
[[nodiscard]] constexpr u64 frame(unsigned n) { return kFrames + (n * 37 % kFrameCount) * kPageSize; }
} // namespace layout

namespace page_bits {
inline constexpr u64 kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40;
inline constexpr u64 kAll = kPresent | kWritable | kUser;
} // namespace page_bits

// Where the entry of the region's page table for `linear` is, in guest memory.
[[nodiscard]] u64 program_table_entry(u64 linear);

// A byte of code that may become any of some others: each of them makes an instruction that ends well.
struct PatchSlot {
    enum class Kind : u8 { immediate, arithmetic, condition };
    u64 offset = 0;
    Kind kind = Kind::immediate;

    [[nodiscard]] u8 value(Rng& rng) const;
};

// Bytes of code that belong together. Without a removable one the program still ends.
struct ProgramPiece {
    u64 begin = 0, end = 0;
    bool removable = false;
};

struct Program {
    u64 seed = 0;
    bool user = false; // at CPL 3
    u64 start = 0;
    u64 end = 0; // offset of the HLT where it ends: #GP at CPL 3
    std::array<u64, spec::kGprCount> gpr{};
    u64 rflags = 0;
    u64 fs_base = 0, gs_base = 0;
    cpu::XsaveArea xsave;
    std::array<u64, 512> entries{}; // of the page table
    std::vector<u8> data;           // data pages
    std::vector<u64> table;         // function pointers
    std::vector<u8> code;
    std::vector<ProgramPiece> pieces;
    std::vector<PatchSlot> slots;
    unsigned interrupt_period = 0; // RDTSCs from one interrupt to the next; 0: none

    // Puts NOPs in place of a piece.
    void remove(std::size_t piece);
};

// Program number `index` of those that `seed` stands for.
[[nodiscard]] Program make_program(u64 seed, u64 index);

} // namespace seamless::diff
