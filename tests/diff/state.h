// SPDX-License-Identifier: Apache-2.0
// What one random case starts from and what it leaves, in the form that the host and the processor under test
// share.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/address.h"
#include "cpu/guest_context.h"
#include "decode/instruction.h"

namespace seamless::diff {

// Linear layout, the same on the host and in the guest. Nothing else is mapped near it on either side, so
// that an access that misses faults alike.
inline constexpr u64 kData = 0x400000; // two writable pages
inline constexpr u64 kDataBytes = 2 * kPageSize;
inline constexpr u64 kReadOnly = kData + kDataBytes; // one page of zeros; unmapped behind it
inline constexpr u64 kCode = 0x600000;               // two pages, filled with INT3
inline constexpr u64 kCodeBytes = 2 * kPageSize;
inline constexpr u64 kGsBase = 0x12340;

struct Inputs {
    std::array<u64, spec::kGprCount> gpr{};
    u64 rip = kCode;
    u64 rflags = 0;
    cpu::XsaveArea xsave;
    std::array<u8, kDataBytes> data{};
    std::vector<u8> code; // at rip; INT3 follows
};

struct Outcome {
    int vector = -1; // the exception that ended the case: #BP where it ran to its end
    u64 error_code = 0;
    u64 cr2 = 0; // #PF only
    std::array<u64, spec::kGprCount> gpr{};
    u64 rip = 0;
    u64 rflags = 0;
    cpu::XsaveArea xsave;
    std::array<u8, kDataBytes> data{};
};

// Runs cases on one side.
class Runner {
  public:
    virtual ~Runner() = default;
    virtual void run(const Inputs& in, Outcome& out) = 0;
};

// What is not compared, because it is the host's own business or a known deviation.
struct Mask {
    u64 flags = ~u64{0}; // these are compared
    u64 data_begin = 0;  // bytes [begin, end) of memory
    u64 data_end = 0;
    bool fault_offset = false; // CR2 within its page: which of its accesses an instruction made first
};

// A line for each difference; empty if the outcomes agree.
[[nodiscard]] std::string compare(const Outcome& host, const Outcome& guest, const Mask& mask);

// Components that are in their initial state get its bytes, whatever the image holds.
void normalize(cpu::XsaveArea& area);

} // namespace seamless::diff
