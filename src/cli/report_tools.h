// SPDX-License-Identifier: Apache-2.0
// What a death report gets from the command line's side: names for addresses, and instructions as text.
#pragma once

#include "cli/symbols.h"
#include "vmm/report/gather.h"

namespace seamless::cli {

// The instruction at the beginning of `bytes`.
[[nodiscard]] vmm::report::Instruction decode_instruction(u64 rip, std::span<const u8> bytes, unsigned bits);

// `symbols` must outlive the tools.
[[nodiscard]] vmm::report::Tools report_tools(const Symbols& symbols);

// Where the guest's kernel runs, compared with its file: from the addresses that it has told the processor.
[[nodiscard]] u64 kaslr_distance(const Symbols& symbols, const trace::VcpuRegisters& registers);

} // namespace seamless::cli
