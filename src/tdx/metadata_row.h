// SPDX-License-Identifier: Apache-2.0
// Rows of the metadata tables and their lookup.
#pragma once

#include <algorithm>
#include <span>

#include "tdx/metadata.h"

namespace seamless::tdx {

enum MdAccess : u8 { kHostRead = 1, kHostWrite = 2, kGuestRead = 4, kGuestWrite = 8, kDebugRead = 16 };

// `count` fields with consecutive codes. `Object` is what the values are read from.
template <typename Object>
struct MdRow {
    u64 id;
    u32 count;
    u8 access;
    u64 (*read)(Object&, u32 index);
    bool (*write)(Object&, u32 index, u64 value) = nullptr; // false: not a valid value
    u64 write_mask = ~u64{0};

    [[nodiscard]] constexpr u64 key() const { return spec::md::key_of(id); }
};

template <typename Object, std::size_t N>
[[nodiscard]] constexpr bool ascending_fields(const MdRow<Object> (&rows)[N])
{
    for (std::size_t i = 1; i < N; ++i)
        if (rows[i - 1].key() + rows[i - 1].count > rows[i].key())
            return false;
    return true;
}

template <typename Object>
[[nodiscard]] const MdRow<Object>* find_field(std::span<const MdRow<Object>> rows, u64 id)
{
    if (id & spec::md::kMustBeZero)
        return nullptr;
    const u64 key = spec::md::key_of(id);
    for (const MdRow<Object>& row : rows)
        if (key >= row.key() && key - row.key() < row.count)
            return &row;
    return nullptr;
}

// The field of that id as the module spells it, or -1.
template <typename Object>
[[nodiscard]] u64 canonical_field(std::span<const MdRow<Object>> rows, u64 id)
{
    const MdRow<Object>* row = find_field(rows, id);
    return row ? row->id + (spec::md::key_of(id) - row->key()) : spec::md::kFirst;
}

template <typename Object>
[[nodiscard]] u64 next_field(std::span<const MdRow<Object>> rows, u64 id)
{
    if (id == spec::md::kFirst)
        return rows.empty() ? spec::md::kFirst : rows[0].id;
    const u64 key = spec::md::key_of(id);
    for (const MdRow<Object>& row : rows) {
        if (row.key() > key)
            return row.id;
        if (key + 1 > row.key() && key + 1 - row.key() < row.count)
            return row.id + (key + 1 - row.key());
    }
    return spec::md::kFirst;
}

template <typename Object>
[[nodiscard]] MdValue read_field(std::span<const MdRow<Object>> rows, Object& object, u64 id, u8 needs)
{
    const MdRow<Object>* row = find_field(rows, id);
    if (!row)
        return {spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    if (!(row->access & needs))
        return {spec::TdxStatus::METADATA_FIELD_NOT_READABLE};
    return {spec::TdxStatus::SUCCESS, row->read(object, static_cast<u32>(spec::md::key_of(id) - row->key()))};
}

template <typename Object>
[[nodiscard]] MdValue write_field(std::span<const MdRow<Object>> rows, Object& object, u64 id, u64 data,
                                  u64 mask, u8 needs)
{
    const MdRow<Object>* row = find_field(rows, id);
    if (!row)
        return {spec::TdxStatus::METADATA_FIELD_ID_INCORRECT};
    const u64 writable = mask & row->write_mask;
    if (!(row->access & needs) || !row->write || writable == 0)
        return {spec::TdxStatus::METADATA_FIELD_NOT_WRITABLE};
    const u32 index = static_cast<u32>(spec::md::key_of(id) - row->key());
    const u64 old = row->read(object, index);
    if (!row->write(object, index, (old & ~writable) | (data & writable)))
        return {spec::TdxStatus::METADATA_FIELD_VALUE_NOT_VALID};
    return {spec::TdxStatus::SUCCESS, old};
}

} // namespace seamless::tdx
