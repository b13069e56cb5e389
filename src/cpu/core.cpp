// SPDX-License-Identifier: Apache-2.0
// The run loop of a logical processor: blocks, instructions in C++, exceptions, requests from outside.
#include "cpu/core.h"

#include <algorithm>
#include <bit>
#include <ctime>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#include "cpu/package.h"
#include "cpu/system/system.h"
#include "cpu/vmx/virtual_apic.h"

namespace seamless::cpu {

using spec::ExitReason;
using spec::Vector;

LpFactory make_processor(EngineMode mode, const Optimizations& optimizations, DebugPort* debug_port)
{
    return [mode, optimizations, debug_port, coherence = std::shared_ptr<Coherence>()](Package& package,
                                                                                       unsigned id) mutable {
        if (id == 0) // the first of a package
            coherence = std::make_shared<Coherence>();
        return std::make_unique<Core>(package, id, mode, optimizations, coherence, debug_port);
    };
}

Core::Core(Package& package, unsigned id, EngineMode mode, const Optimizations& optimizations,
           std::shared_ptr<Coherence> coherence, DebugPort* debug_port)
    : LogicalProcessor(package, id),
      mode_(mode),
      optimizations_(optimizations),
      frame_storage_(std::make_unique<Frame>()),
      frame_(*frame_storage_),
      mmu_(frame_.state, record_, *this, frame_.tlb, coherence->code_pages),
      coherence_(std::move(coherence)),
      debug_port_(debug_port)
{
    frame_.core = this;
    frame_.mmu = &mmu_;
    mmu_.use_translation_cache(optimizations.translation_cache);
    coherence_->cores.resize(std::max<std::size_t>(coherence_->cores.size(), id + 1u));
    coherence_->cores[id] = this;
}

Core::~Core() = default;

bool Core::ensure_engine()
{
    if (!engine_) {
        auto engine = Engine::create(mode_, optimizations_, frame_, mmu_, record_, *this);
        if (!engine)
            return false;
        engine_ = std::move(engine).value();
        frame_.prepare();
        started_.store(true);
    }
    return true;
}

LogicalProcessor::Counters Core::counters() const
{
    return {.instructions = engine_ ? engine_->instructions() : 0,
            .vm_exits = vm_exits_,
            .translations = engine_ ? engine_->translations() : 0};
}

Fault Core::exception(Vector vector, u32 error_code)
{
    record_.vector = vector;
    record_.error_code = error_code;
    return Fault::exception;
}

Fault Core::exit(ExitReason reason, u64 qualification, u32 instruction_info)
{
    record_.reason = reason;
    record_.qualification = qualification;
    record_.instruction_info = instruction_info;
    record_.gla = {};
    record_.gpa = {};
    return Fault::vm_exit;
}

// The exit tells nothing but that the host wants something, as the interrupt of a processor that takes memory
// away would. Async-signal-safe.
Fault Core::host_memory_gone(Hpa host)
{
    constexpr u8 kFunctionCallVector = 0xfc;
    host_fault_ = host.value();
    exit_vector_ = kFunctionCallVector;
    return exit(ExitReason::EXTERNAL_INTERRUPT);
}

u64 Core::guest_tsc()
{
    u64 tsc = package().clock().tsc();
    if (vmcs_->proc_based2 & spec::proc2::TSC_SCALING)
        tsc = static_cast<u64>(static_cast<unsigned __int128>(tsc) * vmcs_->tsc_multiplier >> 48);
    return vmcs_->proc_based & spec::proc::TSC_OFFSETTING ? tsc + vmcs_->tsc_offset : tsc;
}

// None where C++ has to look each time.
base::TscLine Core::guest_tsc_line()
{
    constexpr u64 kUnchanged = bit(48);
    const bool scaled =
        (vmcs_->proc_based2 & spec::proc2::TSC_SCALING) && vmcs_->tsc_multiplier != kUnchanged;
    const bool refused = !(vmcs_->proc_based2 & spec::proc2::RDTSCP) ||
                         (vmcs_->proc_based & spec::proc::RDTSC_EXITING) || (state().cr4 & spec::cr4::TSD);
    if (scaled || refused)
        return {};
    base::TscLine line = package().clock().tsc_line();
    if (vmcs_->proc_based & spec::proc::TSC_OFFSETTING)
        line.base += vmcs_->tsc_offset;
    return line;
}

void Core::spinning()
{
    constexpr unsigned kSpinsPerYield = 64, kYieldsBeforeSleep = 256;
    constexpr u64 kTight = 100'000; // ns for so many turns: no slower than a loop that does nothing else
    constexpr timespec kNap{.tv_sec = 0, .tv_nsec = 50'000};
    if (++spins_ % kSpinsPerYield != 0)
        return;
    const u64 now = package().clock().monotonic_ns();
    fruitless_yields_ = now - last_yield_ns_ < kTight ? fruitless_yields_ + 1 : 0;
    rest(fruitless_yields_ < kYieldsBeforeSleep ? nullptr : &kNap);
    last_yield_ns_ = package().clock().monotonic_ns();
}

// For so long, or until an interrupt is sent.
void Core::sleep_until_asked(const timespec& nap)
{
    napping_.store(true);
    if (__atomic_load_n(&frame_.request, __ATOMIC_SEQ_CST) == 0)
        syscall(SYS_futex, request_word(), FUTEX_WAIT_PRIVATE, 0, &nap);
    napping_.store(false);
}

// Gives the host's processor away, for so long or for a moment. Nobody who wants something of this one waits
// meanwhile: it is done before the guest goes on.
void Core::rest(const timespec* nap)
{
    in_guest_.store(false);
    if (nap)
        sleep_until_asked(*nap);
    else
        sched_yield();
    in_guest_.store(true);
    do_maintenance();
    stand_still();
}

void Core::paging_changed(bool flush)
{
    mmu_.reload();
    if (flush)
        mmu_.flush();
    engine_->set_extended_mask(frame_.state.xcr0);
}

void Core::invept_single(u64 eptp)
{
    if (tag_.ept_pointer == eptp || tag_.shared_ept_pointer == eptp)
        mmu_.flush();
}

void Core::invept_all() { mmu_.flush(); }

void Core::invvpid(u16 vpid)
{
    if (tag_.vpid == vpid)
        mmu_.flush();
}

// Mostly it has not: then what is known of it stays, and so does what leads to it.
void Core::code_may_have_changed()
{
    images_.suspect();
    if (engine_)
        engine_->suspect_code();
    if (mode_ == EngineMode::step || !images_.all_same())
        mmu_.flush_fetches();
}

void Core::send_interrupt(u8 vector)
{
    interrupts_[vector / 64].fetch_or(bit(vector % 64));
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST);
    if (napping_.load())
        syscall(SYS_futex, request_word(), FUTEX_WAKE_PRIVATE, 1);
}

bool Core::acknowledge_interrupts()
{
    const auto arrived = [](const std::atomic<u64>& word) { return word.load() != 0; };
    if (!request_pending() && std::ranges::none_of(interrupts_, arrived)) [[likely]]
        return false; // who sends one now sends it after this
    __atomic_store_n(&frame_.request, u64{0}, __ATOMIC_SEQ_CST);
    u64 any = 0;
    for (std::atomic<u64>& word : interrupts_)
        any |= word.exchange(0);
    return any != 0;
}

void Core::vm_enter(Vmcs& vmcs, GuestContext& context)
{
    if (debug_port_ && ensure_engine()) [[unlikely]]
        enter_debugged(vmcs, context);
    else
        enter(vmcs, context);
}

void Core::enter(Vmcs& vmcs, GuestContext& context)
{
    vmcs_ = &vmcs;
    if (!ensure_engine() || !load_guest(vmcs, context)) {
        vmcs.exit_reason = static_cast<u32>(ExitReason::INVALID_STATE) | 1u << 31;
        vmcs.exit_qualification = 0;
        return;
    }
    in_guest_.store(true); // before the look at what was posted: from now on others wait for this processor
    do_maintenance();
    stand_still();
    engine_->enter(context.xsave);
    run();
    engine_->leave();
    in_guest_.store(false, std::memory_order_release);
    save_guest(vmcs, context);
    if (stop_.reason != DebugStop::Reason::none) [[unlikely]]
        return; // between two instructions: no VM exit
    ++vm_exits_;
    store_exit(vmcs);
}

void Core::run()
{
    const bool event = vmcs_->entry_intr_info & spec::intr_info::VALID;
    if (!inject())
        return;
    if (stepping_ && event) // the debugger sees the first instruction of the handler
        return (void)stop_for_debugger({.reason = DebugStop::Reason::stepped});
    // A single-step trap that a VM exit left pending. SDM: "Pending Debug Exceptions".
    if (std::exchange(vmcs_->pending_dbg_exceptions, 0) & spec::dr6::BS)
        if (!debug_trap(true))
            return;
    if (stepping_ || points_) [[unlikely]]
        return run_debugged();
    while (service_requests() && take_guest_events() && wait_while_halted() && run_one()) {
    }
}

// The event that VM entry injects. False: its delivery made the guest exit.
bool Core::inject()
{
    const u32 info = vmcs_->entry_intr_info;
    if (!(info & spec::intr_info::VALID))
        return true;
    vmcs_->entry_intr_info = 0;
    frame_.state.activity = spec::Activity::active;
    const Event event{.vector = spec::intr_info::vector(info),
                      .type = spec::intr_info::type(info),
                      .has_error_code = (info & spec::intr_info::ERROR_CODE) != 0,
                      .error_code = vmcs_->entry_exception_error_code,
                      .instruction_length = vmcs_->entry_instruction_len};
    if (event.type == spec::intr_info::NMI)
        frame_.state.interruptibility |= spec::interruptibility::NMI;
    record_.cr2 = frame_.state.cr2; // an injected #PF leaves CR2 to software
    injecting_ = true;
    return deliver(event);
}

// What others want of this processor. False: VM exit.
bool Core::service_requests()
{
    if (__atomic_load_n(&frame_.request, __ATOMIC_ACQUIRE) == 0) [[likely]]
        return true;
    __atomic_store_n(&frame_.request, u64{0}, __ATOMIC_SEQ_CST);
    do_maintenance();
    stand_still();
    if (debug_port_ && stop_asked_.exchange(false)) [[unlikely]] {
        __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST); // an interrupt may have come with it
        return stop_for_debugger({.reason = DebugStop::Reason::asked});
    }
    return take_host_interrupts();
}

// SDM: "External-Interrupt Exiting", "Posted-Interrupt Processing". The vector that made the guest exit stays
// for the host to acknowledge.
bool Core::take_host_interrupts()
{
    if (vmcs_->pin_based & spec::pin::POSTED_INTERRUPTS) {
        const u8 notification = static_cast<u8>(vmcs_->posted_intr_nv);
        const u64 mask = bit(notification % 64);
        if (interrupts_[notification / 64].fetch_and(~mask) & mask)
            VirtualApic(*vmcs_).take_posted();
    }
    for (unsigned i = 4; i-- > 0;)
        if (const u64 word = interrupts_[i].load()) {
            exit_vector_ = static_cast<u8>(i * 64 + 63 - static_cast<unsigned>(std::countl_zero(word)));
            __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST);
            (void)exit(ExitReason::EXTERNAL_INTERRUPT);
            return false;
        }
    return true;
}

bool Core::unshadowed() const
{
    using namespace spec::interruptibility;
    return !(frame_.state.interruptibility & (STI | MOV_SS));
}

bool Core::interrupt_window_open() const { return (frame_.state.rflags & spec::rflags::IF) && unshadowed(); }

bool Core::virtual_interrupts() const
{
    return (vmcs_->proc_based2 & spec::proc2::VIRTUAL_INTERRUPT_DELIVERY) && VirtualApic(*vmcs_).pending();
}

// At an instruction boundary: window exits and virtual interrupts. SDM: "Priorities among simultaneous
// events".
bool Core::take_guest_events()
{
    using namespace spec;
    CpuState& s = frame_.state;
    const bool wants_nmi_window = vmcs_->proc_based & proc::NMI_WINDOW_EXITING;
    if (wants_nmi_window && !(s.interruptibility & (interruptibility::NMI | interruptibility::MOV_SS))) {
        (void)exit(ExitReason::NMI_WINDOW);
        return false;
    }
    const bool wants_window = vmcs_->proc_based & proc::INTERRUPT_WINDOW_EXITING;
    if (!wants_window && !virtual_interrupts()) [[likely]]
        return true;
    if (!interrupt_window_open()) {
        alone_ = s.rflags & rflags::IF; // only a shadow: come back behind the next instruction
        return true;
    }
    if (wants_window) {
        (void)exit(ExitReason::INTERRUPT_WINDOW);
        return false;
    }
    s.activity = Activity::active;
    return deliver({.vector = VirtualApic(*vmcs_).deliver(), .type = intr_info::EXTERNAL});
}

// HLT that does not exit: the processor sleeps until somebody asks for it.
bool Core::wait_while_halted()
{
    while (frame_.state.activity == spec::Activity::hlt) {
        if (!service_requests() || !take_guest_events())
            return false;
        if (frame_.state.activity != spec::Activity::hlt)
            break;
        const timespec pause{.tv_sec = 0, .tv_nsec = 200'000};
        rest(&pause);
    }
    return true;
}

// A block, or one instruction in C++. False: VM exit.
bool Core::run_one()
{
    CpuState& s = frame_.state;
    if (instruction_breakpoint()) [[unlikely]]
        return deliver({.vector = static_cast<u8>(Vector::DB)});
    const u32 shadow = s.interruptibility & (spec::interruptibility::STI | spec::interruptibility::MOV_SS);
    const bool stepping = s.rflags & spec::rflags::TF;
    translating_ = false;
    const Result<const decode::Instruction*, Fault> result = engine_->run(std::exchange(alone_, false));
    if (!result) [[unlikely]]
        return result.error() == Fault::exception && take_exception();
    if (!result.value()) [[likely]] {
        if (engine_->executed_last())
            return true;
        s.rflags &= ~spec::rflags::RF;
        s.interruptibility &= ~shadow;
        return debug_trap(stepping);
    }
    const decode::Instruction& insn = *result.value();
    const Result<Flow, Fault> flow = execute_system(*this, insn);
    if (!flow) [[unlikely]]
        return flow.error() == Fault::exception && take_exception();
    s.interruptibility &= ~shadow;
    if (flow.value() == Flow::next)
        step_over(insn);
    // Software events and fast calls that clear TF leave the handler unstepped; MOV SS holds the trap back.
    const bool cleared = !(s.rflags & spec::rflags::TF) && flow.value() == Flow::stay;
    return debug_trap(stepping && !cleared && !(s.interruptibility & spec::interruptibility::MOV_SS));
}

Result<InBlock, Fault> Core::execute(const decode::Instruction& insn)
{
    const Flow flow = TRY(execute_system(*this, insn));
    if (flow == Flow::stay) { // of a string instruction, some iterations: RF says so
        frame_.state.interruptibility &= ~(spec::interruptibility::STI | spec::interruptibility::MOV_SS);
        return InBlock::leave;
    }
    if (insn.operation != decode::Operation::sti || nothing_waits()) [[likely]]
        return InBlock::on;
    step_over(insn); // an interrupt may come behind the next instruction
    return InBlock::leave;
}

Result<bool, Fault> Core::execute_last(const decode::Instruction& insn)
{
    CpuState& s = frame_.state;
    const u32 shadow = s.interruptibility & (spec::interruptibility::STI | spec::interruptibility::MOV_SS);
    const Flow flow = TRY(execute_system(*this, insn));
    s.interruptibility &= ~shadow;
    if (flow == Flow::next)
        step_over(insn);
    return unshadowed() && nothing_waits();
}

// A handler is not stepped, nor is what follows it in this run.
Result<bool, Fault> Core::raise_last()
{
    const bool stepped = frame_.state.rflags & spec::rflags::TF;
    if (!take_exception())
        return fail(Fault::vm_exit);
    return !stepped && unshadowed() && nothing_waits();
}

void Core::step_over(const decode::Instruction& insn)
{
    CpuState& s = frame_.state;
    s.rip += insn.length();
    if (!s.code64())
        s.rip = static_cast<u32>(s.rip);
    s.rflags &= ~spec::rflags::RF;
}

// Whether run() would find nothing to do but to go on.
bool Core::nothing_waits() const
{
    using namespace spec;
    const CpuState& s = frame_.state;
    const bool quiet =
        !stepping_ && s.activity == Activity::active && !(s.dr7 & dr7::ENABLED) && !(s.rflags & rflags::TF);
    return quiet && !(vmcs_->proc_based & (proc::NMI_WINDOW_EXITING | proc::INTERRUPT_WINDOW_EXITING)) &&
           __atomic_load_n(&frame_.request, __ATOMIC_ACQUIRE) == 0 && !virtual_interrupts();
}

bool Core::take_exception()
{
    const Vector vector = record_.vector;
    (void)mmu_.take_watched(); // the instruction did not complete
    (void)mmu_.take_debug_hit();
    Event event{.vector = static_cast<u8>(vector),
                .type = spec::intr_info::HARDWARE_EXCEPTION,
                .has_error_code = spec::has_error_code(vector),
                .error_code = record_.error_code};
    return deliver(event);
}

} // namespace seamless::cpu
