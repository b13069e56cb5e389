// SPDX-License-Identifier: Apache-2.0
// Bits, bit fields and alignment, written the way manuals number them: field(value, 15, 8) is bits 15:8.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace seamless::base {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

// A value with bit `n` set.
[[nodiscard]] constexpr u64 bit(unsigned n) { return u64{1} << n; }

// A value with bits high:low set.
[[nodiscard]] constexpr u64 bits(unsigned high, unsigned low)
{
    return (~u64{0} >> (63 - high)) & (~u64{0} << low);
}

// Bits high:low of `value`, shifted down to bit 0.
[[nodiscard]] constexpr u64 field(u64 value, unsigned high, unsigned low)
{
    return (value & bits(high, low)) >> low;
}

// `value` with bits high:low replaced by the low bits of `insert`.
[[nodiscard]] constexpr u64 with_field(u64 value, unsigned high, unsigned low, u64 insert)
{
    return (value & ~bits(high, low)) | ((insert << low) & bits(high, low));
}

[[nodiscard]] constexpr bool test(u64 value, unsigned n) { return (value >> n) & 1; }

[[nodiscard]] constexpr u64 sign_extend(u64 value, unsigned width)
{
    return static_cast<u64>(static_cast<i64>(value << (64 - width)) >> (64 - width));
}

// The low `bytes` bytes of `value`, the rest zero. bytes is 1 to 8.
[[nodiscard]] constexpr u64 truncate(u64 value, unsigned bytes)
{
    return bytes >= 8 ? value : value & (bit(bytes * 8) - 1);
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr T align_down(T value, T alignment)
{
    return value & ~(alignment - 1);
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr T align_up(T value, T alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

template <std::unsigned_integral T>
[[nodiscard]] constexpr bool aligned(T value, T alignment)
{
    return (value & (alignment - 1)) == 0;
}

} // namespace seamless::base

namespace seamless {
using namespace base; // the vocabulary of every layer: u64, bit(), field(), Result, fail
}
