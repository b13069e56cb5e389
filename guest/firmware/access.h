// SPDX-License-Identifier: Apache-2.0
// One MOV of exactly the size and form that the name says, at any address: what a compiler may not choose.
#pragma once

#include "base/bits.h"

namespace seamless::guest {

inline void store8(u64 at, u8 value) { asm volatile("movb %0, (%1)" : : "q"(value), "r"(at) : "memory"); }
inline void store16(u64 at, u16 value) { asm volatile("movw %0, (%1)" : : "r"(value), "r"(at) : "memory"); }
inline void store32(u64 at, u32 value) { asm volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory"); }
inline void store64(u64 at, u64 value) { asm volatile("movq %0, (%1)" : : "r"(value), "r"(at) : "memory"); }

// Loads return the whole register, which held `before`: the part that the load must keep shows.
inline u64 load8(u64 at, u64 before = 0)
{
    asm volatile("movb (%1), %b0" : "+q"(before) : "r"(at) : "memory");
    return before;
}

inline u64 load16(u64 at, u64 before = 0)
{
    asm volatile("movw (%1), %w0" : "+r"(before) : "r"(at) : "memory");
    return before;
}

inline u64 load32(u64 at, u64 before = 0)
{
    asm volatile("movl (%1), %k0" : "+r"(before) : "r"(at) : "memory");
    return before;
}

inline u64 load64(u64 at)
{
    u64 value;
    asm volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory");
    return value;
}

} // namespace seamless::guest
