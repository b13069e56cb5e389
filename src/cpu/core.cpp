// SPDX-License-Identifier: Apache-2.0
// The run loop of a logical processor: blocks, instructions in C++, exceptions, requests from outside.
#include "cpu/core.h"

#include <algorithm>
#include <ctime>

#include "cpu/package.h"
#include "cpu/system/system.h"

namespace seamless::cpu {

using spec::ExitReason;
using spec::Vector;

LpFactory make_processor(EngineMode mode)
{
    return [mode, coherence = std::shared_ptr<Coherence>()](Package& package, unsigned id) mutable {
        if (id == 0) // the first of a package
            coherence = std::make_shared<Coherence>();
        return std::make_unique<Core>(package, id, mode, coherence);
    };
}

Core::Core(Package& package, unsigned id, EngineMode mode, std::shared_ptr<Coherence> coherence)
    : LogicalProcessor(package, id),
      mode_(mode),
      frame_storage_(std::make_unique<Frame>()),
      frame_(*frame_storage_),
      mmu_(frame_.state, record_, *this, frame_.tlb),
      coherence_(std::move(coherence))
{
    frame_.core = this;
    coherence_->cores.resize(std::max<std::size_t>(coherence_->cores.size(), id + 1u));
    coherence_->cores[id] = this;
}

Core::~Core() = default;

bool Core::ensure_engine()
{
    if (!engine_) {
        auto engine = Engine::create(mode_, frame_, mmu_, record_, *this);
        if (!engine)
            return false;
        engine_ = std::move(engine).value();
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

u64 Core::guest_tsc()
{
    u64 tsc = package().clock().tsc();
    if (vmcs_->proc_based2 & spec::proc2::TSC_SCALING)
        tsc = static_cast<u64>(static_cast<unsigned __int128>(tsc) * vmcs_->tsc_multiplier >> 48);
    return vmcs_->proc_based & spec::proc::TSC_OFFSETTING ? tsc + vmcs_->tsc_offset : tsc;
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

void Core::code_may_have_changed() { mmu_.flush_fetches(); }

void Core::send_interrupt(u8 vector)
{
    interrupt_vector_.store(vector, std::memory_order_relaxed);
    interrupt_pending_.store(true, std::memory_order_release);
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_RELEASE);
}

bool Core::acknowledge_interrupts()
{
    __atomic_store_n(&frame_.request, u64{0}, __ATOMIC_RELAXED);
    return interrupt_pending_.exchange(false, std::memory_order_acq_rel);
}

void Core::vm_enter(Vmcs& vmcs, GuestContext& context)
{
    vmcs_ = &vmcs;
    if (!ensure_engine() || !load_guest(vmcs, context)) {
        vmcs.exit_reason = static_cast<u32>(ExitReason::INVALID_STATE) | 1u << 31;
        vmcs.exit_qualification = 0;
        return;
    }
    in_guest_.store(true); // before the look at what was posted: from now on others wait for this processor
    do_maintenance();
    engine_->enter(context.xsave);
    run();
    engine_->leave();
    in_guest_.store(false);
    ++vm_exits_;
    save_guest(vmcs, context);
    store_exit(vmcs);
}

void Core::run()
{
    if (vmcs_->entry_intr_info & spec::intr_info::VALID) {
        const u32 info = vmcs_->entry_intr_info;
        const Event event{.vector = spec::intr_info::vector(info),
                          .type = spec::intr_info::type(info),
                          .has_error_code = (info & spec::intr_info::ERROR_CODE) != 0,
                          .error_code = vmcs_->entry_exception_error_code,
                          .instruction_length = vmcs_->entry_instruction_len};
        vmcs_->entry_intr_info = 0;
        frame_.state.activity = spec::Activity::active;
        if (!deliver(event))
            return;
    }
    while (service_requests() && wait_while_halted() && run_one()) {
    }
}

// External interrupts of the host. False: VM exit.
bool Core::service_requests()
{
    if (__atomic_load_n(&frame_.request, __ATOMIC_ACQUIRE) == 0) [[likely]]
        return true;
    __atomic_store_n(&frame_.request, u64{0}, __ATOMIC_SEQ_CST);
    do_maintenance();
    if (!interrupt_pending_.load())
        return true;
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_RELAXED); // until the host acknowledges
    (void)exit(ExitReason::EXTERNAL_INTERRUPT);
    return false;
}

// HLT that does not exit: the processor sleeps until somebody asks for it.
bool Core::wait_while_halted()
{
    while (frame_.state.activity == spec::Activity::hlt) {
        if (!service_requests())
            return false;
        const timespec pause{.tv_sec = 0, .tv_nsec = 200'000};
        nanosleep(&pause, nullptr);
    }
    return true;
}

bool Core::run_one()
{
    CpuState& s = frame_.state;
    const u32 shadow = s.interruptibility & (spec::interruptibility::STI | spec::interruptibility::MOV_SS);
    Result<const decode::Instruction*, Fault> result = engine_->run();
    Fault fault{};
    if (result) [[likely]] {
        if (!result.value()) {
            s.interruptibility &= ~shadow;
            return true;
        }
        const decode::Instruction& insn = *result.value();
        const Result<Flow, Fault> flow = execute_system(*this, insn);
        if (flow) [[likely]] {
            s.interruptibility &= ~shadow;
            if (flow.value() == Flow::next) {
                s.rip += insn.length();
                if (!s.code64())
                    s.rip = static_cast<u32>(s.rip);
                s.rflags &= ~spec::rflags::RF;
            }
            return true;
        }
        fault = flow.error();
    } else {
        fault = result.error();
    }
    return fault == Fault::exception && take_exception();
}

bool Core::take_exception()
{
    const Vector vector = record_.vector;
    Event event{.vector = static_cast<u8>(vector),
                .type = spec::intr_info::HARDWARE_EXCEPTION,
                .has_error_code = spec::has_error_code(vector),
                .error_code = record_.error_code};
    return deliver(event);
}

} // namespace seamless::cpu
