// SPDX-License-Identifier: Apache-2.0
// A translated block: guest instructions that run from one host entry point, and the table that tells, for
// each host address that can fault, which guest instruction was executing.
#pragma once

#include <memory>
#include <vector>

#include "base/address.h"
#include "decode/instruction.h"

namespace seamless::cpu {

// What the translation depended on, beside the bytes. A block is found by its physical address and this word.
struct ModeWord {
    decode::CodeSize code = decode::CodeSize::bits64;
    u8 cpl = 0;
    bool flat = true;        // DS, ES, SS and CS have base 0
    u8 tlb_set = 0;          // TlbSet of data accesses
    bool fp_trap = false;    // CR0.TS: vector and x87 instructions raise #NM
    bool fp_emulate = false; // CR0.EM
    bool sse = true;         // CR4.OSFXSR
    bool avx = true;         // CR4.OSXSAVE with the AVX bits of XCR0
    bool avx512 = true;
    bool single = false;    // one instruction at a time, every access in C++: RFLAGS.TF, breakpoints, shadows
    bool alignment = false; // #AC: CR0.AM and RFLAGS.AC at CPL 3
    bool debug = false;     // a debugger has breakpoints on this linear page: blocks end before them

    static constexpr unsigned kSetShift = 5, kDebugShift = 14;

    // What the ways out of a block need to know again.
    [[nodiscard]] static ModeWord of_exit(u32 key)
    {
        ModeWord mode;
        mode.code = static_cast<decode::CodeSize>(key & 3);
        mode.tlb_set = static_cast<u8>(key >> kSetShift & 3);
        return mode;
    }

    [[nodiscard]] static constexpr bool debug_of(u32 key) { return test(key, kDebugShift); }

    [[nodiscard]] u32 key() const
    {
        return static_cast<u32>(code) | u32{cpl} << 2 | u32{flat} << 4 | u32{tlb_set} << kSetShift |
               u32{fp_trap} << 7 | u32{fp_emulate} << 8 | u32{sse} << 9 | u32{avx} << 10 | u32{avx512} << 11 |
               u32{single} << 12 | u32{alignment} << 13 | u32{debug} << kDebugShift;
    }
};

// Places in translated code are offsets from the start of the code cache.
struct CodeRange {
    u32 begin = 0;
    u32 end = 0;
};

struct GuestInsn {
    u16 offset = 0; // from the start of the block's page
    u8 length = 0;
    bool sti = false; // shadows the next
    u32 host = 0;     // where its host code starts
    u32 apart = 0;    // and its code for when the lookup of its stretch fails, where there is one
};

// A direct jump to another block of the same page: the displacement at `patch` leads to the way out of the
// block until the target is known. One to another page (far_links.h) has a bias.
struct LinkSite {
    u32 patch = 0;  // where the rel32 is
    u32 bias = 0;   // and the imm64
    u16 target = 0; // offset in the page
};

// Host code [start, end) executes guest instruction `index` itself; a host fault there is the guest's.
struct NativeRange {
    u32 start = 0;
    u32 end = 0;
    u16 index = 0;
    i8 spilled = -1;   // host register whose guest value is in Frame::spill[0]
    i8 swapped_a = -1; // two host registers that are exchanged meanwhile
    i8 swapped_b = -1;
};

struct Block;

// An instruction of C++ in a block.
struct SystemCall {
    const Block* block = nullptr;
    decode::Instruction insn;
    u16 index = 0;
    u16 offset = 0;        // from the start of the block's page
    bool stirs = true;     // crossing.h
    bool shadowed = false; // behind STI
};

struct Block {
    Hpa start;
    Hpa second; // the page of its last bytes, where that is not the page of the first; else 0
    u32 key = 0;
    CodeRange code; // begins with the entry from another page, with RIP in r15
    u32 near = 0;   // behind it, the entry from the same page
    u32 live = 0;   // the same from blocks that left the extended state live, where the block uses it
    CodeRange cold; // what is seldom run
    std::vector<GuestInsn> insns;
    std::vector<NativeRange> native;
    std::vector<LinkSite> links;
    std::vector<u32> led_from; // the biases of far links to it
    std::vector<u8> bytes;     // the guest's bytes as translated
    std::vector<std::unique_ptr<SystemCall>> calls;
    const decode::Instruction* system = nullptr; // the last instruction, where C++ executes it
    bool extended_state = false;
    bool dropped = false; // its page was written: never to be entered again

    [[nodiscard]] bool on_two_pages() const { return second.value() != 0; }
};

} // namespace seamless::cpu
