// SPDX-License-Identifier: Apache-2.0
// A logical processor: enters a guest from a VMCS and runs it until a VM exit. It knows page tables, EPT and
// VMX; it knows no memslots, no MMIO and no kinds of VM.
#pragma once

#include <optional>

#include "cpu/guest_context.h"
#include "cpu/vmx/vmcs.h"
#include "trace/trace.h"

namespace seamless::cpu {

class Package;

// What software in root mode can do with a processor. processor.h has the real one; tests script their own.
class LogicalProcessor {
  public:
    LogicalProcessor(Package& package, unsigned id) : package_(package), id_(id) {}
    virtual ~LogicalProcessor() = default;
    LogicalProcessor(const LogicalProcessor&) = delete;
    LogicalProcessor& operator=(const LogicalProcessor&) = delete;

    [[nodiscard]] unsigned id() const { return id_; }
    [[nodiscard]] Package& package() { return package_; }

    // VMLAUNCH or VMRESUME on the borrowing thread. Returns at the VM exit: the exit information is in
    // `vmcs`, the guest's registers in `vmcs` and `context`. Bit 31 of vmcs.exit_reason tells a failed VM
    // entry.
    virtual void vm_enter(Vmcs& vmcs, GuestContext& context) = 0;

    // INVEPT and INVVPID, executed by the borrowing thread: drop this processor's cached translations.
    virtual void invept_single(u64 eptp) = 0;
    virtual void invept_all() = 0;
    virtual void invvpid(u16 vpid) = 0;

    // Executed by the borrowing thread: software in root mode, or a device, may have written to memory that
    // the guest executes. Hardware notices by itself; here, pages are looked at again when they are next
    // executed. KVM says so on each KVM_RUN of a VM whose memory user space can write.
    virtual void code_may_have_changed() = 0;

    // Any thread, async-signal-safe: an IPI to this processor. A guest that runs here exits
    // (EXTERNAL_INTERRUPT), or takes posted interrupts if `vector` is its notification vector; else the
    // request stays until the next entry.
    virtual void send_interrupt(u8 vector) = 0;
    // The host's interrupt handler acknowledges what arrived while this processor was in root mode, or what
    // made a guest exit. True if there was anything.
    virtual bool acknowledge_interrupts() = 0;
    // The host learns late, from an access that fails, that memory of the guest's is no longer there: the
    // guest exits as for an external interrupt, at the instruction that made the access, and this gives the
    // host address, once. Whoever owns the page tables drops what leads there, as the host's memory
    // management would have had it do before.
    [[nodiscard]] virtual std::optional<u64> take_host_fault() { return std::nullopt; }

    // For statistics. Instructions are counted in step mode only.
    struct Counters {
        u64 instructions = 0;
        u64 vm_exits = 0;
        u64 translations = 0;
    };
    [[nodiscard]] virtual Counters counters() const = 0;

    // Who traces, and for which vCPU: set by the software that loads a vCPU here.
    trace::Context trace;

  private:
    Package& package_;
    unsigned id_;
};

} // namespace seamless::cpu
