// SPDX-License-Identifier: Apache-2.0
// The real logical processor: VM entry, the run loop, exceptions, VM exits. Functions of cpu/system/ work on
// it.
#pragma once

#include <atomic>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "cpu/fault.h"
#include "cpu/logical_processor.h"
#include "cpu/mmu.h"
#include "cpu/page_images.h"
#include "cpu/processor.h"
#include "cpu/translate/engine.h"

namespace seamless::cpu {

// An event to deliver through the IDT. `type` is the interruption type (spec::intr_info).
struct Event {
    u8 vector = 0;
    u32 type = spec::intr_info::HARDWARE_EXCEPTION;
    bool has_error_code = false;
    u32 error_code = 0;
    u32 instruction_length = 0; // software events: what RIP advances by
};

// What one processor asks another to do about a host page.
enum class Maintenance : u8 { revoke_write, drop_code };

class Core;

// What the processors of a package share: where code is, and each other. (The package may know them by
// wrappers.)
struct Coherence {
    CodePages code_pages;
    std::vector<Core*> cores;           // by id
    std::atomic<Core*> alone = nullptr; // the one for which all others stand still
};

class Core final : public LogicalProcessor, private MmuPort, private EnginePort, private Debuggee {
  public:
    Core(Package& package, unsigned id, EngineMode mode, const Optimizations& optimizations,
         std::shared_ptr<Coherence> coherence, DebugPort* debug_port);
    ~Core() override;

    void vm_enter(Vmcs& vmcs, GuestContext& context) override;
    void invept_single(u64 eptp) override;
    void invept_all() override;
    void invvpid(u16 vpid) override;
    void code_may_have_changed() override;
    void send_interrupt(u8 vector) override;
    bool acknowledge_interrupts() override;
    [[nodiscard]] std::optional<u64> take_host_fault() override { return std::exchange(host_fault_, {}); }
    [[nodiscard]] Counters counters() const override;

    // Somebody waits for this processor to leave the guest or to take an interrupt.
    [[nodiscard]] bool request_pending() const
    {
        return __atomic_load_n(&frame_.request, __ATOMIC_ACQUIRE) != 0;
    }

    // For the functions of cpu/system/.
    [[nodiscard]] CpuState& state() { return frame_.state; }
    [[nodiscard]] Mmu& mmu() { return mmu_; }
    [[nodiscard]] Engine& engine() { return *engine_; }
    [[nodiscard]] Vmcs& vmcs() { return *vmcs_; }
    [[nodiscard]] XsaveArea& xsave() { return *frame_.xsave; }
    [[nodiscard]] FaultRecord& fault_record() { return record_; }
    [[nodiscard]] bool in_td() const { return vmcs_->td_shared_bit != 0; }

    // Reasons for an instruction not to complete: return fail(...) of one of these.
    [[nodiscard]] Fault exception(spec::Vector vector, u32 error_code = 0);
    [[nodiscard]] Fault exit(spec::ExitReason reason, u64 qualification = 0, u32 instruction_info = 0);
    [[nodiscard]] Fault host_memory_gone(Hpa host) override;
    [[nodiscard]] Fault ud() { return exception(spec::Vector::UD); }
    [[nodiscard]] Fault gp(u32 error_code = 0) { return exception(spec::Vector::GP, error_code); }

    // The guest waits for somebody: now and then, somebody else may run.
    void spinning();
    // The guest's view of the time-stamp counter: offset and scaling applied.
    [[nodiscard]] u64 guest_tsc();
    // Control registers or EFER changed: walks, TLB and blocks follow.
    void paging_changed(bool flush);

    // Delivers through the IDT; a fault on the way becomes #DF or a triple fault. False: a VM exit is
    // recorded.
    [[nodiscard]] bool deliver(Event event);

    // segment.cpp. Loads a data, stack or system segment register with its checks.
    [[nodiscard]] Result<void, Fault> load_segment(spec::Seg seg, u16 selector);
    // The descriptor that `selector` names; #GP(selector), or `vector`, where there is none.
    [[nodiscard]] Result<u64, Fault> read_descriptor(u16 selector, spec::Vector vector = spec::Vector::GP);
    [[nodiscard]] static spec::Segment segment_from(u64 descriptor, u16 selector);

  private:
    // vmx/entry.cpp
    [[nodiscard]] bool load_guest(Vmcs& vmcs, GuestContext& context);
    // vmx/exit.cpp
    void save_guest(Vmcs& vmcs, GuestContext& context);
    void store_exit(Vmcs& vmcs);
    // vmx/ept_fault.cpp
    Fault ept_fault(const paging::EptWalk& walk, Gpa gpa, Gva gla, Access access, bool translated) override;
    // coherence.cpp: code that changes, and who must know.
    void page_written(u64 host_page) override;
    void page_fetched(u64 host_page, bool found) override;
    void fetches_dropped(Gva page) override;
    void protect_code(u64 host_page) override;
    void revoke_write_everywhere(u64 host_page);
    [[nodiscard]] base::TscLine guest_tsc_line() override;
    void stop_others() override;
    void resume_others() override;
    [[nodiscard]] Result<InBlock, Fault> execute(const decode::Instruction& insn) override;
    [[nodiscard]] Result<bool, Fault> execute_last(const decode::Instruction& insn) override;
    [[nodiscard]] Result<bool, Fault> raise_last() override;
    void step_over(const decode::Instruction& insn);
    [[nodiscard]] bool nothing_waits() const;
    void rest(const timespec* nap);
    void sleep_until_asked(const timespec& nap);
    // The half of the request that kRequest is in, for futexes.
    [[nodiscard]] u32* request_word() { return reinterpret_cast<u32*>(&frame_.request) + 1; }
    void stand_still(); // while another processor wants it
    [[nodiscard]] bool still() const { return parked_.load() || !in_guest_.load(); }
    void let_others_work();
    u64 post_maintenance(u64 host_page, Maintenance kind); // the ticket

    void do_maintenance();
    [[nodiscard]] bool maintained(u64 ticket) const;

    [[nodiscard]] bool virtualization_exception(u64 qualification, Gva gla, Gpa gpa);

    void enter(Vmcs& vmcs, GuestContext& context);
    void run();
    // debug.cpp
    void enter_debugged(Vmcs& vmcs, GuestContext& context);
    void run_debugged();
    void stop_guest() override;
    [[nodiscard]] bool host_waits() const override;
    [[nodiscard]] bool give_back(Vmcs& vmcs); // false: nobody wants it
    [[nodiscard]] bool at_breakpoint() const;
    [[nodiscard]] bool stop_for_debugger(DebugStop stop);
    [[nodiscard]] bool inject();
    [[nodiscard]] bool run_one(); // false: VM exit
    [[nodiscard]] bool take_exception();
    // breakpoint.cpp
    [[nodiscard]] bool instruction_breakpoint();
    [[nodiscard]] bool debug_trap(bool stepped); // false: VM exit
    [[nodiscard]] bool service_requests();
    [[nodiscard]] bool take_host_interrupts();
    [[nodiscard]] bool take_guest_events(); // false: VM exit
    [[nodiscard]] bool unshadowed() const;  // by STI, MOV SS
    [[nodiscard]] bool interrupt_window_open() const;
    [[nodiscard]] bool virtual_interrupts() const;
    [[nodiscard]] bool wait_while_halted();
    [[nodiscard]] bool intercepted_exception(const Event& event);
    [[nodiscard]] Result<void, Fault> deliver_once(const Event& event);
    [[nodiscard]] Result<void, Fault> deliver_long_mode(const Event& event);
    [[nodiscard]] Result<void, Fault> deliver_protected_mode(const Event& event);
    [[nodiscard]] Result<u64, Fault> tss_stack(unsigned index);
    [[nodiscard]] bool ensure_engine();

    EngineMode mode_;
    Optimizations optimizations_;
    std::unique_ptr<Frame> frame_storage_;
    Frame& frame_;
    FaultRecord record_;
    Mmu mmu_;
    std::unique_ptr<Engine> engine_;
    Vmcs* vmcs_ = nullptr;
    bool alone_ = false;      // the next instruction runs by itself
    bool delivering_ = false; // an event is on its way through the IDT
    bool injecting_ = false;  // it is VM entry that delivers it
    Event current_event_;     // which one
    std::shared_ptr<Coherence> coherence_;
    PageImages images_;
    bool translating_ = false; // since run_one() began
    struct Posted {
        u64 host_page;
        Maintenance kind;
    };
    std::mutex maintenance_mutex_;
    std::vector<Posted> maintenance_;         // what others want this processor to do
    std::atomic<u64> maintenance_posted_ = 0; // tickets given out
    std::atomic<u64> maintenance_done_ = 0;   // tickets served
    std::atomic<bool> started_ = false;       // the engine is there
    std::atomic<bool> napping_ = false;
    std::atomic<bool> in_guest_ = false;
    std::atomic<bool> parked_ = false;    // in the guest, but between two instructions until told otherwise
    std::atomic<u64> interrupts_[4] = {}; // host vectors that wait to be acknowledged
    u8 exit_vector_ = 0;                  // which of them made the guest exit
    std::optional<u64> host_fault_;       // what take_host_fault() gives
    u64 vm_exits_ = 0;
    DebugPort* debug_port_;                // nullptr: there is no debugger
    const DebugPoints* points_ = nullptr;  // of the debugger, if there are any
    bool stepping_ = false;                // for the debugger
    std::atomic<bool> stop_asked_ = false; // by the debugger
    DebugStop stop_;                       // how the last run of guest code ended
    unsigned spins_ = 0;
    unsigned fruitless_yields_ = 0;
    u64 last_yield_ns_ = 0;

    // What the cached translations belong to.
    struct TranslationTag {
        u64 ept_pointer = 0;
        u64 shared_ept_pointer = 0;
        u64 shared_bit = 0;
        u16 vpid = 0;
        u64 cr3 = 0, cr0 = 0, cr4 = 0, efer = 0;
        friend bool operator==(const TranslationTag&, const TranslationTag&) = default;
    };
    TranslationTag tag_;
};

} // namespace seamless::cpu
