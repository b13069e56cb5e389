// SPDX-License-Identifier: Apache-2.0
// The processors a host can have, by the name of their engine: for tools that build a host and include no
// cpu.
#pragma once

#include <string_view>

#include "base/message.h"
#include "base/result.h"
#include "cpu/processor.h"

namespace seamless::platform {

struct Engine {
    cpu::EngineMode mode = cpu::EngineMode::full;
    cpu::Optimizations optimizations;
};

// "full", "step", or "full" without some of its optimizations: "full,no-links,no-jump-cache".
[[nodiscard]] Result<Engine, Message> parse_engine(std::string_view text);

[[nodiscard]] inline cpu::LpFactory make_engine(const Engine& engine, cpu::DebugPort* debug_port = nullptr)
{
    return cpu::make_processor(engine.mode, engine.optimizations, debug_port);
}

} // namespace seamless::platform
