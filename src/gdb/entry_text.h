// SPDX-License-Identifier: Apache-2.0
// Walks through page tables in words, every entry decoded.
#pragma once

#include <string>

#include "trace/inspection.h"

namespace seamless::gdb {

// One line for each entry, and one for where the walk ends.
[[nodiscard]] std::string walk_text(const trace::Walk& walk);
[[nodiscard]] std::string entry_text(const trace::WalkStep& step);

} // namespace seamless::gdb
