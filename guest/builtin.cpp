// SPDX-License-Identifier: Apache-2.0
// Where builtin.S has put the image.
#include "guest/builtin.h"

extern "C" {
extern const std::uint8_t seamless_builtin_begin[];
extern const std::uint8_t seamless_builtin_end[];
}

namespace seamless::guest {

std::span<const std::uint8_t> builtin_firmware() { return {seamless_builtin_begin, seamless_builtin_end}; }

} // namespace seamless::guest
