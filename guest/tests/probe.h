// SPDX-License-Identifier: Apache-2.0
// Executes a few bytes of code and tells how that ended: with which registers, or in which exception, and
// what VE_INFO said.
#pragma once

#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/tdx.h"
#include "guest/firmware/ve.h"
#include "spec/vmx.h"

extern "C" void execute_probe(const void* code, void* registers);

// The code is called, with RAX, RBX, RCX and RDX as given; RDI holds 0x200000 for those that need an address.
asm(R"(
    .text
execute_probe:
    push %rbx
    push %rbp
    mov %rdi, %r10
    mov %rsi, %rbp
    mov (%rbp), %rax
    mov 8(%rbp), %rbx
    mov 16(%rbp), %rcx
    mov 24(%rbp), %rdx
    mov $0x200000, %edi
    mov %rdi, %rsi
    call *%r10
    mov %rax, (%rbp)
    mov %rbx, 8(%rbp)
    mov %rcx, 16(%rbp)
    mov %rdx, 24(%rbp)
    pop %rbp
    pop %rbx
    ret
)");

namespace seamless::guest {

inline constexpr unsigned kNoException = 256;
inline constexpr unsigned kInvalidOpcode = 6;
inline constexpr unsigned kGeneralProtection = 13;
inline constexpr unsigned kProbeSize = 8;

struct ProbeRegisters { // in execute_probe's order
    u64 rax = 0, rbx = 0, rcx = 0, rdx = 0;
};

struct Probe {
    unsigned vector = kNoException;
    u64 error_code = 0;
    VeInfo ve{};
    ProbeRegisters registers; // afterwards
};

// What the handlers of a probe have seen; printing, which takes exceptions as well, is for later.
inline Probe probe_seen;
inline bool probing;

// The probe was called: an exception in it becomes its return.
inline bool return_from_probe(Frame& frame)
{
    if (!probing)
        return frame.vector == kVirtualizationException && handle_ve(frame);
    probing = false;
    probe_seen.vector = static_cast<unsigned>(frame.vector);
    probe_seen.error_code = frame.error_code;
    if (frame.vector == kVirtualizationException && read_ve_info(probe_seen.ve) != kSuccess)
        return false;
    frame.rip = *reinterpret_cast<const u64*>(frame.rsp);
    frame.rsp += sizeof(u64);
    return true;
}

inline void handle_probes()
{
    set_handler(kInvalidOpcode, return_from_probe);
    set_handler(kGeneralProtection, return_from_probe);
    set_handler(kVirtualizationException, return_from_probe);
}

// One instruction.
struct ProbeCode {
    u8 bytes[kProbeSize];
    unsigned length;
};

inline Probe probe(const ProbeCode& code, ProbeRegisters registers = {})
{
    constexpr u8 kReturn = 0xc3;
    static u8 place[kProbeSize + 1];
    for (unsigned i = 0; i < code.length; ++i)
        place[i] = code.bytes[i];
    place[code.length] = kReturn;
    asm volatile("" : : : "memory"); // the compiler does not know that these bytes are executed
    probe_seen = {};
    probing = true;
    execute_probe(place, &registers);
    probing = false;
    probe_seen.registers = registers;
    return probe_seen;
}

enum class Ends : u8 { completes, ud, gp, ve };

// Whether a probe of `length` bytes ended so; a #VE with what VE_INFO must hold.
inline bool ended(const Probe& p, Ends how, spec::ExitReason reason, u64 qualification, unsigned length)
{
    switch (how) {
    case Ends::completes:
        return p.vector == kNoException;
    case Ends::ud:
        return p.vector == kInvalidOpcode;
    case Ends::gp:
        return p.vector == kGeneralProtection && p.error_code == 0;
    case Ends::ve:
        break;
    }
    return p.vector == kVirtualizationException && p.ve.exit_reason == static_cast<u32>(reason) &&
           p.ve.qualification == qualification && p.ve.gla == 0 && p.ve.gpa == 0 &&
           p.ve.instruction_length == length;
}

inline void check_end(const Probe& p, Ends how, spec::ExitReason reason, u64 qualification, unsigned length,
                      const char* name)
{
    const bool good = ended(p, how, reason, qualification, length);
    check(good, name);
    if (good)
        return;
    print("  vector ", Dec{p.vector}, ", error code ", Hex{p.error_code}, ", reason ", Dec{p.ve.exit_reason},
          ", qualification ", Hex{p.ve.qualification}, ", length ", Dec{p.ve.instruction_length}, "\n");
}

} // namespace seamless::guest
