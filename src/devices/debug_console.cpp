// SPDX-License-Identifier: Apache-2.0
// The debug console's one register.
#include "devices/debug_console.h"

#include <algorithm>

namespace seamless::devices {

void DebugConsole::read(u64, std::span<u8> data) { std::fill(data.begin(), data.end(), kPresent); }

void DebugConsole::write(u64, std::span<const u8> data) { sink_->transmit_all(data); }

} // namespace seamless::devices
