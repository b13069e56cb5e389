// SPDX-License-Identifier: Apache-2.0
// Result<T, E>: a value or a typed reason why there is none. TRY() unwraps it or returns the reason to our
// caller.
#pragma once

#include <bit>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/bits.h"
#include "base/check.h"

namespace seamless::base {

// A failure on its way into a Result of any value type.
template <typename E>
struct Failure {
    E error;
};

template <typename E>
[[nodiscard]] constexpr Failure<std::decay_t<E>> fail(E&& error)
{
    return {std::forward<E>(error)};
}

namespace detail {

// A value and an error that are a word each, so that the Result returns in RAX:RDX. A word of several members
// would be put together in memory, where loading it must wait for the stores.
template <typename E>
concept SmallError = std::is_trivially_copyable_v<E> &&(sizeof(E) == 1 || sizeof(E) == 2 || sizeof(E) == 4);
template <typename T, typename E>
concept Compact = std::is_trivially_copyable_v<T> && SmallError<E>;

// 0: no error.
template <SmallError E>
class ErrorWord {
  public:
    constexpr ErrorWord() = default;
    constexpr explicit ErrorWord(E error) : word_(kError | std::bit_cast<Bits>(error)) {}
    [[nodiscard]] constexpr bool none() const { return word_ == 0; }
    [[nodiscard]] constexpr E error() const { return std::bit_cast<E>(static_cast<Bits>(word_)); }

  private:
    using Bits = std::conditional_t<sizeof(E) == 1, u8, std::conditional_t<sizeof(E) == 2, u16, u32>>;
    static constexpr u64 kError = u64{1} << 32;
    u64 word_ = 0;
};

} // namespace detail

template <typename T, typename E>
class [[nodiscard]] Result {
  public:
    constexpr Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    template <typename F>
    constexpr Result(Failure<F> failure) : state_(std::in_place_index<1>, std::move(failure.error))
    {}

    [[nodiscard]] constexpr bool ok() const { return state_.index() == 0; }
    constexpr explicit operator bool() const { return ok(); }

    [[nodiscard]] constexpr T& value() &
    {
        CHECK(ok());
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] constexpr const T& value() const&
    {
        CHECK(ok());
        return *std::get_if<0>(&state_);
    }
    [[nodiscard]] constexpr T value() &&
    {
        CHECK(ok());
        return std::move(*std::get_if<0>(&state_));
    }
    [[nodiscard]] constexpr const E& error() const
    {
        CHECK(!ok());
        return *std::get_if<1>(&state_);
    }
    [[nodiscard]] constexpr T value_or(T other) const { return ok() ? *std::get_if<0>(&state_) : other; }

  private:
    std::variant<T, E> state_;
};

template <typename T, typename E>
requires detail::Compact<T, E>
class [[nodiscard]] Result<T, E> {
  public:
    constexpr Result(T value) : value_(value) {}
    template <typename F>
    constexpr Result(Failure<F> failure) : value_(), error_(E(failure.error))
    {}

    [[nodiscard]] constexpr bool ok() const { return error_.none(); }
    constexpr explicit operator bool() const { return ok(); }
    [[nodiscard]] constexpr T& value()
    {
        CHECK(ok());
        return value_;
    }
    [[nodiscard]] constexpr const T& value() const
    {
        CHECK(ok());
        return value_;
    }
    [[nodiscard]] constexpr E error() const
    {
        CHECK(!ok());
        return error_.error();
    }
    [[nodiscard]] constexpr T value_or(T other) const { return ok() ? value_ : other; }

  private:
    T value_;
    detail::ErrorWord<E> error_;
};

template <typename E>
class [[nodiscard]] Result<void, E> {
  public:
    constexpr Result() : error_(), ok_(true) {}
    template <typename F>
    constexpr Result(Failure<F> failure) : error_(std::move(failure.error)), ok_(false)
    {}

    [[nodiscard]] constexpr bool ok() const { return ok_; }
    constexpr explicit operator bool() const { return ok_; }
    constexpr void value() const { CHECK(ok_); }
    [[nodiscard]] constexpr const E& error() const
    {
        CHECK(!ok_);
        return error_;
    }

  private:
    E error_;
    bool ok_;
};

template <detail::SmallError E>
class [[nodiscard]] Result<void, E> {
  public:
    constexpr Result() = default;
    template <typename F>
    constexpr Result(Failure<F> failure) : error_(E(failure.error))
    {}

    [[nodiscard]] constexpr bool ok() const { return error_.none(); }
    constexpr explicit operator bool() const { return ok(); }
    constexpr void value() const { CHECK(ok()); }
    [[nodiscard]] constexpr E error() const
    {
        CHECK(!ok());
        return error_.error();
    }

  private:
    detail::ErrorWord<E> error_;
};

} // namespace seamless::base

namespace seamless {
using base::fail;
using base::Result;
} // namespace seamless

// Unwraps a Result; on failure returns the reason from the enclosing function. Usable as an expression, also
// nested.
#define TRY(expression) SEAMLESS_TRY_(expression, SEAMLESS_CONCAT_(try_result_, __COUNTER__))
#define SEAMLESS_CONCAT_(a, b) SEAMLESS_CONCAT2_(a, b)
#define SEAMLESS_CONCAT2_(a, b) a##b
#define SEAMLESS_TRY_(expression, result)                                                                    \
    ({                                                                                                       \
        auto result = (expression);                                                                          \
        if (!result.ok()) [[unlikely]]                                                                       \
            return ::seamless::base::fail(std::move(result).error());                                        \
        std::move(result).value();                                                                           \
    })
