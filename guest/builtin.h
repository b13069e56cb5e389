// SPDX-License-Identifier: Apache-2.0
// The demo guest's image, linked into the program that runs it.
#pragma once

#include <cstdint>
#include <span>

namespace seamless::guest {

// A TDVF image of our own, with the demo program in it.
[[nodiscard]] std::span<const std::uint8_t> builtin_firmware();

} // namespace seamless::guest
