// SPDX-License-Identifier: Apache-2.0
// Our own TDVF images, linked into the program that runs them.
#pragma once

#include <cstdint>
#include <span>

namespace seamless::guest {

// With the demo program in it.
[[nodiscard]] std::span<const std::uint8_t> builtin_firmware();
// The one that starts a Linux kernel, and so many processors that it can park until the kernel wakes them.
[[nodiscard]] std::span<const std::uint8_t> builtin_linux();
inline constexpr unsigned kLinuxProcessors = 8;

} // namespace seamless::guest
