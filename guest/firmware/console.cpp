// SPDX-License-Identifier: Apache-2.0
// COM1, written without waiting: our machines' transmitter is always ready, and each status read would cost a
// TD exit.
#include "guest/firmware/console.h"

#include "guest/firmware/x86.h"

namespace seamless::guest {
namespace {

constexpr u16 kCom1 = 0x3f8;
unsigned failure_count;

void put(char c) { out8(kCom1, static_cast<u8>(c)); }

void put_digits(u64 value, unsigned base, unsigned least)
{
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0 || count < least);
    while (count != 0)
        put(digits[--count]);
}

} // namespace

void print_one(const char* text)
{
    for (; *text != '\0'; ++text)
        put(*text);
}

void print_one(Hex number)
{
    print_one("0x");
    put_digits(number.value, 16, 1);
}

void print_one(Dec number) { put_digits(number.value, 10, 1); }

void print_one(Bytes bytes)
{
    for (unsigned i = 0; i < bytes.size; ++i)
        put_digits(bytes.data[i], 16, 2);
}

void check(bool good, const char* name)
{
    if (!good)
        ++failure_count;
    print(good ? "PASS " : "FAIL ", name, "\n");
}

void check_equal(u64 value, u64 expected, const char* name)
{
    check(value == expected, name);
    if (value != expected)
        print("     got ", Hex{value}, ", expected ", Hex{expected}, "\n");
}

unsigned failures() { return failure_count; }

} // namespace seamless::guest
