// SPDX-License-Identifier: Apache-2.0
// Tables that manuals print are constexpr arrays here: sorted (checked at compile time) and searched by key.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

namespace seamless::base {

template <typename Row, std::size_t N, typename Key>
[[nodiscard]] constexpr bool strictly_ascending(const Row (&table)[N], Key Row::*key)
{
    for (std::size_t i = 1; i < N; ++i)
        if (!(table[i - 1].*key < table[i].*key))
            return false;
    return true;
}

// The row whose key equals `wanted`, or nullptr.
template <typename Row, std::size_t N, typename Key>
[[nodiscard]] constexpr const Row* find_row(const Row (&table)[N], Key Row::*key, const Key& wanted)
{
    const Row* row = std::lower_bound(std::begin(table), std::end(table), wanted,
                                      [key](const Row& r, const Key& k) { return r.*key < k; });
    return row != std::end(table) && row->*key == wanted ? row : nullptr;
}

} // namespace seamless::base
