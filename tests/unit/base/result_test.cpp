// SPDX-License-Identifier: Apache-2.0
// Results of each form: in two registers, without a value, and with an error that fits no register.
#include <gtest/gtest.h>
#include <string>

#include "base/result.h"

namespace seamless {
namespace {

using base::u16;
using base::u32;
using base::u64;
using base::u8;

enum class Small : u8 { first, last = 0xff };
enum class Wide : u16 { first, last = 0xffff };
struct Number {
    int value;
    friend bool operator==(const Number&, const Number&) = default;
};

static_assert(sizeof(Result<u64, Small>) == 16 && sizeof(Result<u8, Number>) == 16);
static_assert(sizeof(Result<void, Number>) == 8);

template <typename T, typename E>
Result<T, E> twice(Result<T, E> inner)
{
    return static_cast<T>(2 * TRY(inner));
}

template <typename E>
void expect_error(E error)
{
    const Result<u64, E> failed = fail(error);
    EXPECT_FALSE(failed.ok());
    EXPECT_TRUE(failed.error() == error);
    EXPECT_EQ(failed.value_or(5), 5u);
    EXPECT_TRUE(twice(failed).error() == error);
    const Result<void, E> nothing = fail(error);
    EXPECT_FALSE(nothing.ok());
    EXPECT_TRUE(nothing.error() == error);
}

TEST(Result, AnErrorIsOneWhateverItsBits)
{
    expect_error(Small::first);
    expect_error(Small::last);
    expect_error(Wide::first);
    expect_error(Wide::last);
    expect_error(Number{0});
    expect_error(Number{-1});
    expect_error(std::string("why"));
}

TEST(Result, AValueIsOneWhateverItsBits)
{
    for (const u64 value : {u64{0}, ~u64{0}}) {
        const Result<u64, Number> good = value;
        EXPECT_TRUE(good.ok());
        EXPECT_EQ(good.value(), value);
        EXPECT_EQ(good.value_or(7), value);
    }
    EXPECT_EQ((twice(Result<u32, Small>(21u)).value()), 42u);
    EXPECT_TRUE((Result<void, Small>().ok()));
    EXPECT_TRUE((Result<void, std::string>().ok()));
}

} // namespace
} // namespace seamless
