// SPDX-License-Identifier: Apache-2.0
// Why the guest died or hangs, in a sentence for its author: a table of causes, each with what it looks like
// and where the specification speaks of it.
#pragma once

#include "vmm/report/facts.h"

namespace seamless::vmm::report {

struct Diagnosis {
    std::string_view name; // for programs: never changes
    std::string sentence;
    std::string_view see; // specification and section
};

// The most specific first; empty if nothing is recognised.
[[nodiscard]] std::vector<Diagnosis> diagnose(const Facts& facts);

// One vCPU of one guest, as the rows of the table look at it.
struct Case {
    const Facts& facts;
    const VcpuFacts& vcpu;

    [[nodiscard]] bool died(Death how) const { return facts.outcome.death == how; }
    [[nodiscard]] bool hangs() const { return facts.outcome.kind == Outcome::Kind::timeout; }
    [[nodiscard]] bool is_shared(u64 gpa) const { return (gpa & facts.shared_bit) != 0; }
    // "shared 0xfeb00000 (virtio-mmio)".
    [[nodiscard]] std::string place(u64 gpa) const;
    // "0xffffffff81000000 <start_kernel>".
    [[nodiscard]] std::string code(u64 address) const;
    // "`mov eax, [rsi]` at 0x...", or "the code at ..." if it could not be read.
    [[nodiscard]] std::string code(const Instruction& instruction) const;
    [[nodiscard]] const Event* last_event() const
    {
        return vcpu.events.empty() ? nullptr : &vcpu.events.back();
    }
};

// A row's sentence, or nothing if it is not that.
using Look = std::string (*)(const Case&);

std::string unread_ve(const Case& c);
std::string unaccepted_memory(const Case& c);
std::string code_in_shared_memory(const Case& c);
std::string mmio_as_private(const Case& c);
std::string stack_overflow(const Case& c);
std::string no_gate(const Case& c);
std::string undecoded_mmio(const Case& c);
std::string refused_msr(const Case& c);
std::string refused_request(const Case& c);
std::string refused_tdcall(const Case& c);
std::string triple_fault(const Case& c);
std::string no_progress(const Case& c);
std::string panic(const Case& c);
std::string gave_up(const Case& c);
std::string dma_to_private(const Case& c);
std::string dma_to_nowhere(const Case& c);
std::string masked_pin(const Case& c);
std::string interrupt_not_taken(const Case& c);
std::string sleeps_for_good(const Case& c);
std::string waits_for_interrupt(const Case& c);
std::string spins(const Case& c);

} // namespace seamless::vmm::report
