// SPDX-License-Identifier: Apache-2.0
// Turns a recorded trace into files for people: a page for browsers, and Chrome's trace events for Perfetto.
#pragma once

#include <string>

#include "base/message.h"
#include "base/result.h"
#include "cli/symbols.h"

namespace seamless::cli {

// "8b06" as "mov eax, dword ptr [rsi]"; empty if it is no instruction. The trace does not say the mode;
// nearly all guest code is 64-bit.
[[nodiscard]] std::string disassemble(std::string_view hex, u64 rip);

// Each reads the trace `path` and writes the file `out`, which appears only when it is complete.
[[nodiscard]] Result<void, Message> write_page(const std::string& path, const std::string& out,
                                               const Symbols& symbols);
[[nodiscard]] Result<void, Message> write_perfetto(const std::string& path, const std::string& out);

} // namespace seamless::cli
