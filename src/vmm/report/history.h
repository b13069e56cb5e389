// SPDX-License-Identifier: Apache-2.0
// VM exits told as what the guest did: the TDCALLs, requests and #VEs of a TD's author.
#pragma once

#include <span>

#include "vmm/report/facts.h"

namespace seamless::vmm::report {

[[nodiscard]] std::vector<Event> events_of(std::span<const trace::Crossing> crossings);

// "TDG.VP.VMCALL<#VE.RequestMMIO> read 4 bytes at 0xfe000000: SUCCESS, 0x1234".
[[nodiscard]] std::string words_of(const Event& event, u64 shared_bit);

// GHCI's name of a sub-function, or "sub-function 0x7".
[[nodiscard]] std::string tdvmcall_name(u64 leaf);
[[nodiscard]] std::string exception_name(u8 vector);

} // namespace seamless::vmm::report
