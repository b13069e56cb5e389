// SPDX-License-Identifier: Apache-2.0
// The index of a table finds what a search finds, and nothing else.
#include <gtest/gtest.h>

#include "base/row_index.h"
#include "base/table.h"

namespace seamless::base {
namespace {

struct Row {
    u32 key;
    int value;
};
constexpr Row kRows[] = {{0, 10}, {3, 13}, {0x4104, 14}, {0x8105, 15}};
constexpr auto kIndex = index_rows<256>(kRows, &Row::key);

static_assert(kIndex.find(0) == &kRows[0]);
static_assert(kIndex.find(0x8105) == &kRows[3]);
static_assert(kIndex.find(1) == nullptr);

TEST(RowIndex, FindsWhatASearchFinds)
{
    for (u32 key = 0; key < 0x10000; ++key)
        EXPECT_EQ(kIndex.find(key), find_row(kRows, &Row::key, key)) << key;
}

TEST(RowIndex, TellsKeysInOnePlaceApart)
{
    EXPECT_EQ(kIndex.find(0x103), nullptr);
    EXPECT_EQ(kIndex.find(0xffff4104), nullptr);
    EXPECT_EQ(kIndex.find(4), nullptr);
}

} // namespace
} // namespace seamless::base
