// SPDX-License-Identifier: Apache-2.0
// Who called the code at RIP, as far as the stack tells: frame pointers, exception frames, and where there
// are none, words that look like return addresses.
#pragma once

#include <span>

#include "vmm/report/facts.h"

namespace seamless::vmm::report {

// How many bytes of the guest's linear memory were there, from the first one on.
using ReadMemory = std::function<u64(u64 from, std::span<u8> to)>;
using Symbol = std::function<std::string(u64)>;

// The innermost first; RIP itself is frame 0. A guess is a word behind a CALL, and if there are symbols, one
// that a symbol covers.
[[nodiscard]] std::vector<Frame> backtrace(const trace::VcpuRegisters& registers, const ReadMemory& read,
                                           const Symbol& symbol, bool has_symbols);
// What the processor pushed for exceptions and interrupts that have not returned.
[[nodiscard]] std::vector<Frame> exception_frames(const trace::VcpuRegisters& registers,
                                                  const ReadMemory& read);

} // namespace seamless::vmm::report
