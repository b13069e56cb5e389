// SPDX-License-Identifier: Apache-2.0
// Text on COM1: print("size ", Dec{n}, " at ", Hex{address}, "\n").
#pragma once

#include "base/bits.h"

namespace seamless::guest {

struct Hex {
    u64 value;
};
struct Dec {
    u64 value;
};
struct Bytes { // as hex digits, lowest address first
    const u8* data;
    unsigned size;
};

void print_one(const char* text);
void print_one(Hex number);
void print_one(Dec number);
void print_one(Bytes bytes);

template <class... Parts>
void print(const Parts&... parts)
{
    (print_one(parts), ...);
}

// One line "PASS name" or "FAIL name", and the count of failures.
void check(bool good, const char* name);
// The same for a value, which the line shows where it is wrong.
void check_equal(u64 value, u64 expected, const char* name);
[[nodiscard]] unsigned failures();

} // namespace seamless::guest
