// SPDX-License-Identifier: Apache-2.0
// Which firmware a machine gets: the user's, or one that is built in.
#pragma once

#include <string>
#include <vector>

#include "base/bits.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::cli {

// The image at `path`; without one what is built in: the demo, or the firmware that boots Linux.
[[nodiscard]] Result<std::vector<u8>, Message> firmware_image(const std::string& path, bool boots_linux);

} // namespace seamless::cli
