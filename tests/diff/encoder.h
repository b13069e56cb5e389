// SPDX-License-Identifier: Apache-2.0
// Fills in a form at random: prefixes, registers, addressing mode, displacement and immediate.
#pragma once

#include <array>

#include "diff/forms.h"
#include "diff/random.h"

namespace seamless::diff {

// Always fifteen bytes, of which the instruction takes as many as it needs. It may turn out to be another
// instruction, or none: decode it.
[[nodiscard]] std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> encode(const Form& form, Rng& rng);

} // namespace seamless::diff
