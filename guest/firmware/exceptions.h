// SPDX-License-Identifier: Apache-2.0
// Exceptions of the guest: what the entries save, and who handles which vector.
#pragma once

#include "base/bits.h"

namespace seamless::guest {

// As exception_entries.S pushes it.
struct Frame {
    u64 pushed[15]; // R15 first, RAX last; no RSP
    u64 vector;
    u64 error_code;
    u64 rip;
    u64 cs;
    u64 rflags;
    u64 rsp;
    u64 ss;

    // General register `number` as instructions encode it: 0 = RAX, 1 = RCX, ... 4 = RSP, ... 15 = R15.
    u64& gpr(unsigned number) { return number == 4 ? rsp : pushed[number < 4 ? 14 - number : 15 - number]; }
};
static_assert(sizeof(Frame) == 22 * sizeof(u64));

inline constexpr unsigned kPageFault = 14;
inline constexpr unsigned kVirtualizationException = 20;
inline constexpr unsigned kFirstInterrupt = 32; // and up to 63: vectors for the local APIC
inline constexpr unsigned kSoftwareInterrupt =
    64; // the entry's number; its place in the IDT is kSoftwareVector
inline constexpr unsigned kSoftwareVector = 0x80;
inline constexpr unsigned kEntries = 65;

// Selectors of the payload's GDT. The order of the user ones is SYSRET's.
inline constexpr u16 kKernelCode = 0x08;
inline constexpr u16 kKernelData = 0x10;
inline constexpr u16 kUserData = 0x18 | 3;
inline constexpr u16 kUserCode = 0x20 | 3;
inline constexpr u16 kTaskState = 0x28;

// Handles the exception and returns true, or returns false: then the guest ends with a report.
using Handler = bool (*)(Frame& frame);

// Loads GDT, TSS and IDT; #VE goes to handle_ve(), everything else is unexpected.
void install_exceptions();

// The same tables for another vCPU, without a TSS: it has no user mode and no interrupt stacks.
void load_exceptions();

void set_handler(unsigned vector, Handler handler);

// The stack for exceptions that come from CPL 3, and IST 1 for `vector`.
void set_kernel_stack(u64 top);
void use_interrupt_stack(unsigned vector, u64 top);

} // namespace seamless::guest
