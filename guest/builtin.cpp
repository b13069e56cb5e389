// SPDX-License-Identifier: Apache-2.0
// Where the assembler has put the images.
#include "guest/builtin.h"

extern "C" {
extern const std::uint8_t builtin_seamless_begin[], builtin_seamless_end[];
extern const std::uint8_t builtin_linux_begin[], builtin_linux_end[];
}

namespace seamless::guest {

std::span<const std::uint8_t> builtin_firmware() { return {builtin_seamless_begin, builtin_seamless_end}; }
std::span<const std::uint8_t> builtin_linux() { return {builtin_linux_begin, builtin_linux_end}; }

} // namespace seamless::guest
