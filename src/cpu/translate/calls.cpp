// SPDX-License-Identifier: Apache-2.0
// Instructions of C++ that translated code calls, and where it goes on behind them.
#include "cpu/translate/engine.h"

namespace seamless::cpu {

void Engine::begin_call(const SystemCall& call, u64 return_address)
{
    CpuState& s = frame_.state;
    const u64 mask = s.code64() ? ~u64{0} : 0xffffffff;
    s.rip = (frame_.page_gva + call.offset) & mask;
    if (s.rip != first_rip_)
        past_first();
    take_flags();
    if (call.shadowed)
        shadow_behind_sti();
    if (call.stirs)
        stir();
    last_bytes_ = {call.insn.bytes, call.insn.length()};
    in_access_ = return_address;
    access_index_ = call.index;
}

void Engine::end_call()
{
    in_access_ = 0;
    frame_.host_flags = (frame_.state.rflags & spec::rflags::kArithmetic) | spec::rflags::FIXED1;
}

// An instruction of C++ in the middle of a block. Where the block cannot go on behind it, RIP says where the
// guest does.
SlowResult Engine::call_system(Frame* frame, u64 call_address, u32, u64 return_address)
{
    Engine& engine = *running_;
    const auto& call = *reinterpret_cast<const SystemCall*>(call_address);
    engine.begin_call(call, return_address);
    const bool sti = call.insn.operation == decode::Operation::sti;
    if (sti)
        frame->before_sti = frame->state.rflags;
    const Result<InBlock, Fault> done = engine.port_.execute(call.insn);
    engine.end_call();
    if (done && done.value() == InBlock::on) [[likely]] {
        engine.past_first();
        if (sti)
            frame->stirred = 0;
        if (call.insn.operation == decode::Operation::rdtsc)
            engine.open_tsc();
        return {.host = 1, .skip = 0};
    }
    if (!done)
        return engine.fault_last(done.error());
    frame->exit_code = static_cast<u64>(ExitCode::executed);
    return {.host = 0, .skip = kLeave};
}

// Behind an instruction that raised something: an exception is delivered here.
SlowResult Engine::fault_last(Fault fault)
{
    if (fault == Fault::exception)
        return go_on(port_.raise_last());
    return go_on(fail(fault));
}

// The mode may be another now; where the jump cache of that is in order, translated code is not left.
SlowResult Engine::go_on(const Result<bool, Fault>& on)
{
    end_call();
    if (on && on.value() && can_stay()) [[likely]] {
        const auto set = static_cast<unsigned>(mmu_.current_set());
        frame_.return_sentinel = stubs_.unknown_return[set];
        mem::store<u64>(Hpa(frame_.return_base), frame_.return_sentinel);
        frame_.target = stubs_.jump[set];
        frame_.stirred = 0;
        return {.host = 0, .skip = kGoOn};
    }
    if (!on)
        pending_fault_ = on.error();
    frame_.exit_code = static_cast<u64>(on ? ExitCode::executed : ExitCode::fault);
    return {.host = 0, .skip = kLeave};
}

// At the end of a block.
SlowResult Engine::call_last(Frame*, u64 call_address, u32, u64 return_address)
{
    Engine& engine = *running_;
    const auto& call = *reinterpret_cast<const SystemCall*>(call_address);
    engine.past_first(); // a block that begins with it is not entered, but others lead there
    engine.begin_call(call, return_address);
    const Result<bool, Fault> on = engine.port_.execute_last(call.insn);
    if (!on)
        return engine.fault_last(on.error());
    const SlowResult result = engine.go_on(on);
    if (result.skip == kGoOn)
        engine.open_crossing(call.insn);
    return result;
}

// Whatever was known to be quiet may not be any more.
void Engine::stir()
{
    frame_.stirred = 1;
    for (Crossing& crossing : frame_.crossings)
        crossing.closed = 1;
    frame_.tsc.closed = 1;
}

// The instruction has just led to this state, where nothing waits.
void Engine::open_crossing(const decode::Instruction& insn)
{
    constexpr u64 kOfMode = spec::rflags::TF | spec::rflags::AC;
    const CpuState& s = frame_.state;
    const CrossingKind* kind = crossing_of(insn);
    if (!kind || !s.code64() || (*kind == CrossingKind::syscall && (s.fmask & kOfMode) != kOfMode))
        return;
    frame_.crossings[static_cast<unsigned>(*kind)] = {.closed = 0,
                                                      .keep = ~s.fmask,
                                                      .rip = s.lstar,
                                                      .target = frame_.target,
                                                      .sentinel = frame_.return_sentinel,
                                                      .cs = s.segment(spec::Seg::cs),
                                                      .ss = s.segment(spec::Seg::ss)};
}

// The guest has just read it.
void Engine::open_tsc()
{
    const base::TscLine line = port_.guest_tsc_line();
    frame_.tsc = {.closed = line.rate == 0, .minus_from = -line.from, .base = line.base, .rate = line.rate};
}

bool Engine::can_stay() const
{
    const ModeWord mode = mode_word();
    const bool user = static_cast<TlbSet>(mode.tlb_set) == TlbSet::user;
    return options_.jump_cache && !drop_all_ && !mode.single && jump_keys_[mode.tlb_set] == jump_key(mode) &&
           jump_generations_[mode.tlb_set] == mmu_.generation(user);
}

} // namespace seamless::cpu
