// SPDX-License-Identifier: Apache-2.0
// Extended state between the form tools know and the processor's XSAVE area.
#pragma once

#include "cpu/guest_context.h"
#include "trace/inspection.h"

namespace seamless::platform {

[[nodiscard]] trace::VectorState vector_state_of(const cpu::XsaveArea& area);
// False if no processor could restore it; nothing is changed then.
[[nodiscard]] bool set_vector_state(cpu::XsaveArea& area, const trace::VectorState& state);

} // namespace seamless::platform
