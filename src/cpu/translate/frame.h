// SPDX-License-Identifier: Apache-2.0
// What translated code reaches through GS: the processor's state, its TLBs, and the engine's scratch slots.
#pragma once

#include <cstddef>

#include "base/host_ports.h"
#include "cpu/mmu.h"
#include "cpu/state.h"
#include "cpu/translate/crossing.h"
#include "cpu/translate/jump_cache.h"
#include "paging/tlb.h"

namespace seamless::cpu {

class Core;

inline constexpr u64 kPatience = 16;
inline constexpr unsigned kBounceBytes = 256;

// An access that one host pointer cannot serve (it crosses pages) runs on this copy, at the same offset
// modulo 64.
struct alignas(64) Bounce {
    u8 bytes[kBounceBytes + 64];
    u8* at;     // the copy's start
    u8* first;  // where the first `first_size` bytes belong
    u8* second; // and the rest
    u32 first_size;
    u32 size;
};

// What RDTSC gives, as base::TscLine has it, with the guest's offset. `closed`: C++ has to be asked.
struct TscOfGuest {
    u64 closed = 1;
    u64 minus_from = 0;
    u64 base = 0;
    u64 rate = 0;
};

struct alignas(64) Frame {
    CpuState state;

    Frame* self = this;
    Core* core = nullptr;
    Mmu* mmu = nullptr;
    u64 page_gva = 0;   // linear address of the page that the running block starts in
    u64 retired = 0;    // instructions of blocks, where they are counted
    u64 host_rsp = 0;   // the host's stack while translated code runs
    u64 host_flags = 0; // arithmetic flags on their way in and out of translated code
    u64 target = 0;     // host address to enter at
    u64 temp = 0;       // a value kept across a lookup
    u64 spill[2] = {};  // host registers lent to the current instruction
    u64 exit_code = 0;
    u64 exit_from = 0; // behind the call of the exit stub
    XsaveArea* xsave = nullptr;
    u64 xsave_mask = 0; // state components that the guest's XCR0 enables
    u64 request = 0;    // kRequest: leave translated code at the next poll
    u64 index_mask = u64{paging::Tlb::kEntries - 1}
                     << kPageShift; // PEXT operands: TLB index, page number, jump cache
    u64 page_mask = ~kPageMask;
    u64 size_mask = 0; // of AccessInfo
    u64 jump_mask = 0;
    u64 sign_mask = bit(63);
    u64 all_but_if = ~spec::rflags::IF;
    u64 all_but_df = ~spec::rflags::DF;
    u64 all_but_ac = ~spec::rflags::AC;
    u64 above_lower_half = bits(63, 47); // of a linear address
    u64 unusual_flags = spec::rflags::TF | spec::rflags::NT | spec::rflags::AC | spec::rflags::VIF |
                        spec::rflags::VIP; // for SYSRET
    u32 host_mxcsr = 0x1f80;
    u64 extended_live = 0; // the guest's extended state is in the host's registers
    u64 ensure_extended =
        0; // what translated code calls before it touches that state: loads it, or just returns

    // Returns (returns.cpp): what is at the bottom, where that is, and from where on it is too deep.
    u64 return_sentinel = 0;
    u64 return_base = 0;
    u64 return_limit = 0;
    u64 return_limit_negated = 0;
    u64 helper_rsp = 0; // where C++ was called from: above it is what the running block would return to

    u64 link_epochs[kTlbSets] = {}; // far_links.h
    u64 patience = kPatience;       // how many far jumps more go by the jump cache until one is linked

    // What goes without C++ (crossing.h). Something may wait for an instruction boundary: STI has to look.
    u64 stirred = 1;
    u64 before_sti = 0; // RFLAGS before the last STI of a block
    Crossing crossings[kCrossings];
    TscOfGuest tsc;
    u64 beyond_line = ~(base::TscLine::kCycles - 1); // of host cycles on a line

    Bounce bounce;
    // The large part, in use once prepare() was called: most of a package's processors never run.
    JumpCache jumps[kTlbSets];
    paging::Tlb tlb[kTlbSets];

    Frame() {} // not "= default": nothing shall be cleared that is not used
    void prepare()
    {
        for (unsigned set = 0; set < kTlbSets; ++set) {
            jumps[set].prepare();
            tlb[set].prepare();
        }
    }
};

// Frame::request: a number that the jump cache's one comparison sees too (JumpCache::is_sound).
inline constexpr u64 kRequest = bit(63);

// Displacement of a frame member, for gs:[...].
#define FRAME(member) static_cast<::seamless::i32>(offsetof(::seamless::cpu::Frame, member))

} // namespace seamless::cpu
