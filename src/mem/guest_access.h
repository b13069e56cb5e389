// SPDX-License-Identifier: Apache-2.0
// All access to guest memory goes through here: single-copy atomic for each naturally aligned unit, as the
// guest's own accesses are. Read shared data once, then check the copy: another vCPU or the host may change
// it meanwhile.
//
// The VMM owns a guest's shared memory, and may unmap or truncate it at any time; an access then fails as a
// whole, where an ordinary one would end the process. The try_ functions are for such memory, the others for
// memory that is the simulated host's own: page tables of EPT, control pages, private memory.
#pragma once

#include <concepts>
#include <cstring>
#include <span>

#include "mem/host_memory.h"

namespace seamless::mem {

// `hpa` is aligned to sizeof(T). Acquire and release, which cost nothing on x86: who loads an entry of a
// table goes on to what the entry leads to.
template <std::unsigned_integral T>
[[nodiscard]] T load(Hpa hpa)
{
    return __atomic_load_n(host_ptr<T>(hpa), __ATOMIC_ACQUIRE);
}

template <std::unsigned_integral T>
void store(Hpa hpa, T value)
{
    __atomic_store_n(host_ptr<T>(hpa), value, __ATOMIC_RELEASE);
}

// Replaces `expected` by `desired`; on failure `expected` becomes what was found.
template <std::unsigned_integral T>
[[nodiscard]] bool compare_exchange(Hpa hpa, T& expected, T desired)
{
    return __atomic_compare_exchange_n(host_ptr<T>(hpa), &expected, desired, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

// Byte ranges that do not leave the page (or the contiguous range) at `hpa`; no atomicity is promised.
inline void copy_from(std::span<u8> to, Hpa hpa) { std::memcpy(to.data(), host_ptr(hpa), to.size()); }
inline void copy_to(Hpa hpa, std::span<const u8> from)
{
    std::memcpy(host_ptr(hpa), from.data(), from.size());
}
inline void zero(Hpa hpa, u64 bytes) { std::memset(host_ptr(hpa), 0, bytes); }

// False: the memory is gone, and nothing was changed. They count on recover_access() being asked about host
// faults.
[[nodiscard]] bool try_load(Hpa hpa, u8& value);
[[nodiscard]] bool try_load(Hpa hpa, u16& value);
[[nodiscard]] bool try_load(Hpa hpa, u32& value);
[[nodiscard]] bool try_load(Hpa hpa, u64& value);
[[nodiscard]] bool try_store(Hpa hpa, u8 value);
[[nodiscard]] bool try_store(Hpa hpa, u16 value);
[[nodiscard]] bool try_store(Hpa hpa, u32 value);
[[nodiscard]] bool try_store(Hpa hpa, u64 value);

enum class Exchange : u8 { done, changed, gone };
// changed: `expected` becomes what was found.
[[nodiscard]] Exchange try_compare_exchange(Hpa hpa, u32& expected, u32 desired);
[[nodiscard]] Exchange try_compare_exchange(Hpa hpa, u64& expected, u64 desired);

// How many bytes were copied, from the first one on: all of them unless the memory is gone.
[[nodiscard]] u64 try_copy(void* to, const void* from, u64 bytes);
[[nodiscard]] inline bool try_copy_from(std::span<u8> to, Hpa hpa)
{
    return try_copy(to.data(), host_ptr(hpa), to.size()) == to.size();
}
[[nodiscard]] inline bool try_copy_to(Hpa hpa, std::span<const u8> from)
{
    return try_copy(host_ptr(hpa), from.data(), from.size()) == from.size();
}
// Stores the low `size` bytes of `value` (1, 2, 4 or 8) `count` times; how many times it was stored.
[[nodiscard]] u64 try_fill(Hpa hpa, u64 value, unsigned size, u64 count);
// Whether the memory is there and holds these bytes.
[[nodiscard]] bool try_equal(Hpa hpa, std::span<const u8> bytes);

// For the handler of SIGSEGV and SIGBUS. True if the instruction at `rip` is one of the functions above:
// `rip` is then where it reports the failure.
[[nodiscard]] bool recover_access(u64& rip);

} // namespace seamless::mem
