// SPDX-License-Identifier: Apache-2.0
// What is known about a guest that has died or hangs: the input of diagnoses and the content of a report.
// Everything in it may be the work of a hostile guest.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "devices/ioapic.h"
#include "trace/inspection.h"
#include "vmm/dma.h"
#include "vmm/outcome.h"

namespace seamless::vmm::report {

struct Instruction {
    u64 rip = 0;
    std::vector<u8> bytes; // of the instruction; as many as were there if it is none
    std::string text;      // Intel syntax; empty: not decoded
    bool reads_or_writes_memory = false;
    // MOV, MOVZX or MOVSX between memory and a general register or an immediate: what one request for MMIO
    // can say.
    bool simple_move = false;
};

// One thing that a vCPU did that left the guest, or that the guest asked about it.
struct Event {
    enum class Kind : u8 {
        ve,       // the guest has read VE_INFO, which says these things
        tdvmcall, // a request to the host
        tdcall,   // another TDCALL
        exit,     // any other VM exit
    } kind = Kind::exit;
    u64 number = 0;
    u64 rip = 0, rsp = 0;
    u32 reason = 0;      // exit: the exit's; ve: the #VE's
    u64 leaf = 0;        // tdcall: the leaf; tdvmcall: the sub-function
    bool vendor = false; // tdvmcall: R10 was not zero, the sub-function is the vendor's
    bool answered = false;
    u64 status = 0; // tdcall: RAX; tdvmcall: R10 of the answer
    u64 value = 0;  // tdvmcall: R11 of the answer
    u64 qualification = 0, gla = 0, gpa = 0;
    u64 operands[4] = {}; // tdvmcall: R12 to R15; tdcall: RCX, RDX, R8, R9; exit: RAX, RCX, RDX, RBX
    std::optional<u8> injected = {}; // the exception that the guest found when it went on
};

struct Frame {
    enum class How : u8 { rip, frame_pointer, exception, guess } how = How::rip;
    u64 address = 0;
    u64 rsp = 0; // exception: of the code that was interrupted
};

struct VcpuFacts {
    u32 id = 0;
    bool inspected = false; // through the inspection port; else nothing below is known of a TD
    bool entered = false;   // it has been in the guest
    std::optional<trace::VcpuRegisters> registers;
    std::optional<Instruction> instruction; // at RIP
    std::vector<Frame> backtrace;
    std::vector<Instruction> interrupted; // by exceptions whose frames are on the stack; innermost first
    bool stack_mapped = true;             // there is memory below RSP
    std::vector<Event> events;            // oldest first
    std::optional<trace::ApicState> apic;
    std::optional<trace::TdFacts> td;
};

struct PinFacts {
    unsigned number = 0;
    std::string device;
    devices::Ioapic::Pin pin;
};

struct Facts {
    Outcome outcome;
    bool td = false;
    u64 shared_bit = 0;
    std::vector<VcpuFacts> vcpus;
    std::vector<PinFacts> pins; // of the I/O APIC, those that are used
    std::vector<DmaMistake> dma;
    std::string panic;                                     // what the guest's console says of a panic
    std::function<std::string(u64)> owner;                 // what is at a guest-physical address
    std::function<std::string(u64)> symbol;                // "name+0x12", or nothing
    std::function<std::optional<u8>(u32, u64)> sept_state; // of a page: spec::SeptState, for vCPU and GPA

    // Who ended the run, or the first vCPU; nullptr without any.
    [[nodiscard]] const VcpuFacts* culprit() const
    {
        for (const VcpuFacts& v : vcpus)
            if (v.id == outcome.vcpu)
                return &v;
        return vcpus.empty() ? nullptr : &vcpus.front();
    }
};

} // namespace seamless::vmm::report
