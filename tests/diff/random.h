// SPDX-License-Identifier: Apache-2.0
// Numbers for random cases: a small generator, and values that make instructions do something interesting.
#pragma once

#include <bit>

#include "base/bits.h"

namespace seamless::diff {

// xorshift64*: fast, and the same on every library.
class Rng {
  public:
    explicit Rng(u64 seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x1234567)
    {
        if (state_ == 0)
            state_ = 1;
    }

    u64 next()
    {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545f4914f6cdd1d;
    }
    u64 below(u64 n) { return (next() >> 16) % n; }
    bool percent(unsigned p) { return below(100) < p; }
    u8 byte() { return static_cast<u8>(next() >> 32); }

    // Integers near boundaries as often as any others.
    u64 integer()
    {
        switch (below(8)) {
        case 0:
            return below(4);
        case 1:
            return ~below(4);
        case 2:
            return bit(static_cast<unsigned>(below(64))) + below(3) - 1;
        case 3:
            return below(256);
        case 4:
            return next() & 0xffffffff;
        default:
            return next();
        }
    }

    // Eight bytes that may be read as doubles, floats or integers.
    u64 vector_word()
    {
        switch (below(6)) {
        case 0:
            return special_double();
        case 1:
            return u64{special_float()} << 32 | special_float();
        case 2: // doubles of moderate size, whose sums round
            return (next() & ~bits(62, 52)) | (1023 - 32 + below(64)) << 52;
        case 3: {
            const auto moderate = [this] {
                return (static_cast<u32>(next()) & 0x807fffffu) | static_cast<u32>(127 - 16 + below(32))
                                                                      << 23;
            };
            return u64{moderate()} << 32 | moderate();
        }
        case 4:
            return integer();
        default:
            return next();
        }
    }

  private:
    u64 special_double()
    {
        constexpr u64 kValues[] = {0,
                                   0x3ff0000000000000,
                                   0x7ff0000000000000,
                                   0x7ff8000000000000,
                                   0x7ff4000000000001, // signalling
                                   1,                  // denormal
                                   0x000fffffffffffff,
                                   0x0010000000000000,
                                   0x7fefffffffffffff,
                                   0x43e0000000000000, // 2^63
                                   0x41e0000000000000, // 2^31
                                   0x3fe0000000000000};
        return kValues[below(std::size(kValues))] ^ (next() & bit(63));
    }
    u32 special_float()
    {
        constexpr u32 kValues[] = {0,          0x3f800000, 0x7f800000, 0x7fc00000, 0x7fa00001, 1,
                                   0x007fffff, 0x00800000, 0x7f7fffff, 0x5f000000, 0x4f000000, 0x3f000000};
        return kValues[below(std::size(kValues))] ^ (static_cast<u32>(next()) & 0x80000000u);
    }

    u64 state_;
};

} // namespace seamless::diff
