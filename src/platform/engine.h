// SPDX-License-Identifier: Apache-2.0
// The processors a host can have, by the name of their engine: for tools that build a host and include no
// cpu.
#pragma once

#include "cpu/processor.h"

namespace seamless::platform {

enum class Engine : u8 { full, step };

[[nodiscard]] inline cpu::LpFactory make_engine(Engine engine)
{
    return cpu::make_processor(engine == Engine::step ? cpu::EngineMode::step : cpu::EngineMode::full);
}

} // namespace seamless::platform
