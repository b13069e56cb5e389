// SPDX-License-Identifier: Apache-2.0
// #VE: what a TD's processor refuses to do alone becomes a request to the host.
#pragma once

#include "guest/firmware/exceptions.h"

namespace seamless::guest {

// Asks for VE_INFO before anything else: a second #VE before that would be fatal.
bool handle_ve(Frame& frame);

// How many the handler has taken.
[[nodiscard]] u64 ve_count();

} // namespace seamless::guest
