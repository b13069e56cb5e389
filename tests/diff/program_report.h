// SPDX-License-Identifier: Apache-2.0
// Differences between two runs of a random program, and the program, as text.
#pragma once

#include <string>

#include "diff/program_runner.h"

namespace seamless::diff {

// The first event that differs, or the first bytes of memory; empty if the runs agree.
[[nodiscard]] std::string difference(const ProgramOutcome& expected, const ProgramOutcome& found);

[[nodiscard]] std::string describe(const Program& program);

} // namespace seamless::diff
