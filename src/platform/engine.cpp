// SPDX-License-Identifier: Apache-2.0
// Engines by name.
#include "platform/engine.h"

#include <algorithm>
#include <fmt/format.h>
#include <ranges>

namespace seamless::platform {
namespace {

struct Switch {
    std::string_view name;
    bool cpu::Optimizations::*optimization;
};
constexpr Switch kSwitches[] = {
    {"no-inline-tlb", &cpu::Optimizations::inline_tlb},
    {"no-inline-flags-live", &cpu::Optimizations::inline_flags_live},
    {"no-dead-flags", &cpu::Optimizations::dead_flags},
    {"no-links", &cpu::Optimizations::links},
    {"no-far-links", &cpu::Optimizations::far_links},
    {"no-calls", &cpu::Optimizations::calls},
    {"no-inline-system", &cpu::Optimizations::inline_system},
    {"no-jump-cache", &cpu::Optimizations::jump_cache},
    {"no-returns", &cpu::Optimizations::returns},
    {"no-stretches", &cpu::Optimizations::stretches},
    {"no-translation-cache", &cpu::Optimizations::translation_cache},
    {"count-instructions", &cpu::Optimizations::uncounted},
};

} // namespace

Result<Engine, Message> parse_engine(std::string_view text)
{
    Engine engine;
    const std::string_view mode = text.substr(0, text.find(','));
    if (mode == "step")
        engine.mode = cpu::EngineMode::step;
    else if (mode != "full")
        return fail(Message{fmt::format("--engine: \"{}\" is neither full nor step", mode)});
    for (std::size_t at = text.find(','); at != std::string_view::npos;) {
        const std::size_t next = text.find(',', at + 1);
        const std::string_view name = text.substr(at + 1, next - at - 1);
        const Switch* found = std::ranges::find(kSwitches, name, &Switch::name);
        if (found == std::end(kSwitches))
            return fail(Message{fmt::format("--engine: there is no \"{}\"", name)});
        engine.optimizations.*found->optimization = false;
        at = next;
    }
    return engine;
}

} // namespace seamless::platform
