// SPDX-License-Identifier: Apache-2.0
// A field's value as every writer shows it.
#pragma once

#include <string>
#include <string_view>

#include "trace/trace.h"

namespace seamless::trace {

// "0xfeb00000", "4", "EPT_VIOLATION", "8b06": no quotes; empty for an absent value.
[[nodiscard]] std::string value_text(const Field& field, const Value& value);

// `text` as a JSON string, quotes included.
[[nodiscard]] std::string json_quoted(std::string_view text);

// JSON's form of it: counts are bare, the rest is quoted, an absent value is null.
[[nodiscard]] std::string value_json(const Field& field, const Value& value);

} // namespace seamless::trace
