// SPDX-License-Identifier: Apache-2.0
// All access to guest memory goes through here: single-copy atomic for each naturally aligned unit, as the
// guest's own accesses are. Read shared data once, then check the copy: another vCPU or the host may change
// it meanwhile.
#pragma once

#include <concepts>
#include <cstring>
#include <span>

#include "mem/host_memory.h"

namespace seamless::mem {

// `hpa` is aligned to sizeof(T).
template <std::unsigned_integral T>
[[nodiscard]] T load(Hpa hpa)
{
    return __atomic_load_n(host_ptr<T>(hpa), __ATOMIC_RELAXED);
}

template <std::unsigned_integral T>
void store(Hpa hpa, T value)
{
    __atomic_store_n(host_ptr<T>(hpa), value, __ATOMIC_RELAXED);
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

} // namespace seamless::mem
