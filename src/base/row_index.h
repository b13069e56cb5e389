// SPDX-License-Identifier: Apache-2.0
// Where the rows of a table are, by key: for tables that are asked at each VM exit, where a search would cost
// more than what it finds.
#pragma once

#include <array>
#include <cstddef>

#include "base/bits.h"

namespace seamless::base {

// `Places` is more than the largest key, or a divisor for which all keys leave different remainders; made at
// compile time, where anything else is an error.
template <std::size_t Places, typename Row, typename Key>
class RowIndex {
  public:
    template <std::size_t N>
    consteval RowIndex(const Row (&table)[N], Key Row::*key) : table_(table), key_(key)
    {
        static_assert(N < 256);
        for (std::size_t i = 0; i < N; ++i) {
            u8& place = places_[place_of(table[i].*key)];
            if (place != 0)
                two_rows_meet();
            place = static_cast<u8>(i + 1);
        }
    }

    // The row whose key equals `wanted`, or nullptr.
    [[nodiscard]] constexpr const Row* find(Key wanted) const
    {
        const std::size_t place = places_[place_of(wanted)];
        if (place == 0)
            return nullptr;
        const Row* row = table_ + (place - 1);
        return row->*key_ == wanted ? row : nullptr;
    }

  private:
    static void two_rows_meet() {} // no constant expression
    static constexpr std::size_t place_of(Key key) { return static_cast<u64>(key) % Places; }

    const Row* table_;
    Key Row::*key_;
    std::array<u8, Places> places_{};
};

template <std::size_t Places, typename Row, std::size_t N, typename Key>
[[nodiscard]] consteval RowIndex<Places, Row, Key> index_rows(const Row (&table)[N], Key Row::*key)
{
    return {table, key};
}

} // namespace seamless::base
