// SPDX-License-Identifier: Apache-2.0
// Finds or translates the block at RIP, runs it, and says why it stopped.
#include "cpu/translate/engine.h"

#include <asm/prctl.h>
#include <bit>
#include <cstring>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#include "cpu/cpuid.h"

namespace seamless::cpu {
namespace {

using decode::CodeSize;
using decode::DecodeStatus;
using decode::Execution;
using decode::Instruction;
using spec::Vector;

constexpr u32 kCacheBytes = 64 << 20;
constexpr unsigned kMaxBlockInsns = 64;

bool has_fsgsbase()
{
    static const bool value = getauxval(AT_HWCAP2) & 2;
    return value;
}

u64 read_gs_base()
{
    u64 base = 0;
    if (has_fsgsbase())
        __asm__ volatile("rdgsbase %0" : "=r"(base));
    else
        syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
    return base;
}

void write_gs_base(u64 base)
{
    if (has_fsgsbase())
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    else
        syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}

} // namespace

thread_local Engine* Engine::running_ = nullptr;

Result<std::unique_ptr<Engine>, Message> Engine::create(EngineMode mode, const Optimizations& optimizations,
                                                        Frame& frame, Mmu& mmu, FaultRecord& record,
                                                        EnginePort& port)
{
    auto cache = TRY(CodeCache::create(kCacheBytes));
    install_signal_handlers();
    return std::unique_ptr<Engine>(
        new Engine(mode, optimizations, frame, mmu, record, port, std::move(cache)));
}

Engine::Engine(EngineMode mode, const Optimizations& optimizations, Frame& frame, Mmu& mmu,
               FaultRecord& record, EnginePort& port, std::unique_ptr<CodeCache> cache)
    : mode_(mode),
      frame_(frame),
      mmu_(mmu),
      record_(record),
      port_(port),
      cache_(std::move(cache)),
      max_insns_(mode == EngineMode::step ? 1 : kMaxBlockInsns)
{
    stubs_ = emit_stubs(cache_->memory(), cache_->address(),
                        {.slow = slow_access,
                         .commit = commit_bounce,
                         .system = call_system,
                         .last = call_last,
                         .refill = refill});
    cache_->reserve(align_up<u32>(stubs_.size, 64));
    const bool full = mode == EngineMode::full;
    const bool bmi2 = native_cpuid(7, 0).ebx & bit(8);
    options_ = {.inline_tlb = full && optimizations.inline_tlb,
                .stretches = full && optimizations.inline_tlb && optimizations.stretches,
                .inline_flags_live = full && bmi2 && optimizations.inline_flags_live,
                .dead_flags = full && optimizations.dead_flags,
                .links = full && optimizations.links,
                .far_links = full && bmi2 && optimizations.jump_cache && optimizations.far_links,
                .bmi2 = bmi2,
                .calls = full && optimizations.calls,
                .inline_system = full && bmi2 && optimizations.calls && optimizations.inline_system,
                .jump_cache = full && bmi2 && optimizations.jump_cache,
                .returns = full && bmi2 && optimizations.jump_cache && optimizations.returns,
                .count = full && !optimizations.uncounted};
    for (FarLinks& links : far_links_)
        links.prepare();
    frame_.jump_mask = JumpCache::kMask;
    frame_.size_mask = AccessInfo::kSizeMask;
    frame_.ensure_extended = stubs_.load_extended;
}

Engine::~Engine() = default;

void Engine::enter(XsaveArea& xsave)
{
    frame_.xsave = &xsave;
    __asm__ volatile("stmxcsr %0" : "=m"(frame_.host_mxcsr));
    saved_gs_ = read_gs_base();
    write_gs_base(reinterpret_cast<u64>(&frame_));
    running_ = this;
}

void Engine::leave()
{
    running_ = nullptr;
    write_gs_base(saved_gs_);
}

// x87 and SSE state exist whatever XCR0 says.
void Engine::set_extended_mask(u64 xcr0) { frame_.xsave_mask = (xcr0 | 3) & supported_xcr0(); }

Fault Engine::raise(Vector vector, u32 error_code)
{
    record_.vector = vector;
    record_.error_code = error_code;
    return Fault::exception;
}

ModeWord Engine::mode_word() const
{
    const CpuState& s = frame_.state;
    ModeWord mode;
    mode.code = s.code64() ? CodeSize::bits64 : s.code32() ? CodeSize::bits32 : CodeSize::bits16;
    mode.cpl = static_cast<u8>(s.cpl());
    mode.tlb_set = static_cast<u8>(mmu_.current_set());
    if (mode.code != CodeSize::bits64)
        for (const spec::Seg seg : {spec::Seg::es, spec::Seg::cs, spec::Seg::ss, spec::Seg::ds})
            mode.flat &= s.segment(seg).base == 0;
    mode.fp_trap = s.cr0 & spec::cr0::TS;
    mode.fp_emulate = s.cr0 & spec::cr0::EM;
    mode.sse = s.cr4 & spec::cr4::OSFXSR;
    mode.avx = (s.cr4 & spec::cr4::OSXSAVE) && (s.xcr0 & 6) == 6;
    mode.avx512 = mode.avx && (s.xcr0 & 0xe6) == 0xe6;
    mode.single = (s.rflags & spec::rflags::TF) || (s.dr7 & spec::dr7::ENABLED) ||
                  (debug_points_ && !debug_points_->watches.empty());
    mode.alignment = (s.rflags & spec::rflags::AC) && (s.cr0 & spec::cr0::AM) && s.cpl() == 3;
    return mode;
}

// The jump cache is looked up by RIP: of no use where that is not linear, and not to be mistaken there.
u32 Engine::jump_key(const ModeWord& mode) const
{
    const bool linear = mode.code == CodeSize::bits64 || frame_.state.segment(spec::Seg::cs).base == 0;
    return mode.key() | u32{!linear} << 31;
}

bool Engine::unchanged(const Block& block) const
{
    const std::span<const u8> bytes = block.bytes;
    if (!block.on_two_pages()) [[likely]]
        return mem::try_equal(block.start, bytes);
    const u64 here = kPageSize - block.start.page_offset();
    return mem::try_equal(block.start, bytes.first(here)) &&
           mem::try_equal(block.second, bytes.subspan(here));
}

// Whether a block found by where it starts is what RIP leads to. Step mode looks at the bytes each time.
Result<bool, Fault> Engine::valid(const Block& block, Gva gva)
{
    if (block.on_two_pages()) [[unlikely]]
        if (TRY(mmu_.translate_fetch(gva.page() + kPageSize)) != block.second)
            return false;
    return mode_ == EngineMode::full || unchanged(block);
}

Result<Block*, Fault> Engine::find_or_translate(bool alone)
{
    const CpuState& s = frame_.state;
    ModeWord mode = mode_word();
    mode.single |= alone;
    const u64 base = mode.code == CodeSize::bits64 ? 0 : s.segment(spec::Seg::cs).base;
    const Gva gva(mode.code == CodeSize::bits64 ? s.rip : static_cast<u32>(s.rip + base));
    frame_.page_gva = s.rip - gva.page_offset();
    last_bytes_ = {};
    const Hpa start = TRY(mmu_.translate_fetch(gva));
    if (drop_all_) [[unlikely]]
        drop_all_code();
    if (jump_keys_[mode.tlb_set] != jump_key(mode)) {
        frame_.jumps[mode.tlb_set].flush();
        jump_keys_[mode.tlb_set] = jump_key(mode);
    }
    mode.debug = debug_points_ && debug_points_->on_page_of(gva.value()); // jump caches hold such blocks too
    if (Block* block = cache_->find(start, mode.key())) [[likely]] {
        if (TRY(valid(*block, gva))) [[likely]]
            return block;
        if (!block->dropped) // the look at its second page may have found it changed
            drop_or_postpone(*block);
    }
    if (drop_all_) [[unlikely]]
        drop_all_code();
    return translate(start, mode);
}

Result<const Instruction*, Fault> Engine::run(bool alone)
{
    stir();
    for (const TlbSet set : {TlbSet::user, TlbSet::supervisor, TlbSet::supervisor_ac}) {
        u64& seen = jump_generations_[static_cast<unsigned>(set)];
        if (seen != mmu_.generation(set == TlbSet::user)) {
            frame_.jumps[static_cast<unsigned>(set)].flush();
            end_far_links(static_cast<unsigned>(set));
            seen = mmu_.generation(set == TlbSet::user);
        }
    }
    if (cache_->has_removed()) [[unlikely]]
        free_removed_code();
    const ExitCode came_by = left_by_;
    Block* block = TRY(find_or_translate(alone));
    left_by_ = came_by;
    follow(*block);
    left_by_ = ExitCode::ended;
    executed_last_ = false;
    if (block->insns.size() == 1 && block->system) { // nothing to run before it
        last_bytes_ = block->bytes;
        ++instructions_;
        return block->system;
    }
    CpuState& s = frame_.state;
    first_rip_ = s.rip;
    frame_.target = cache_->address(block->near);
    frame_.host_flags = (s.rflags & spec::rflags::kArithmetic) | spec::rflags::FIXED1;
    frame_.return_sentinel = stubs_.unknown_return[static_cast<unsigned>(mmu_.current_set())];
    stubs_.enter();
    take_flags();
    if (mode_ == EngineMode::step)
        ++instructions_;
    return left(static_cast<ExitCode>(frame_.exit_code & 0xff));
}

// Translated code has come back.
Result<const Instruction*, Fault> Engine::left(ExitCode code)
{
    switch (code) {
    case ExitCode::ended:
        return nullptr;
    case ExitCode::executed:
        executed_last_ = true;
        return nullptr;
    case ExitCode::jump:
        left_by_ = code;
        return nullptr;
    case ExitCode::link:
        left_by_ = code;
        left_ = cache_->containing(frame_.exit_from - 1);
        left_link_ = static_cast<u32>(frame_.exit_code >> 16);
        left_rip_ = frame_.state.rip;
        frame_.patience = kPatience;
        return nullptr;
    case ExitCode::fault:
        return fail(pending_fault_);
    case ExitCode::system: {
        const Block* block = cache_->containing(frame_.exit_from - 1);
        CHECK(block && block->system);
        past_first(); // a block that begins with it is not entered, but others lead there
        last_bytes_ = {block->system->bytes, block->system->length()};
        return block->system;
    }
    case ExitCode::raise: {
        const Block* block = cache_->containing(frame_.exit_from - 1);
        CHECK(block);
        if (block->insns.size() > 1)
            past_first();
        last_bytes_ = std::span(block->bytes).last(block->insns.back().length);
        return fail(raise(static_cast<Vector>(frame_.exit_code >> 8), 0));
    }
    }
    CHECK(false);
    return nullptr;
}

// SDM: RFLAGS.RF, and "Interruptibility State": neither outlasts one instruction.
void Engine::past_first()
{
    CpuState& s = frame_.state;
    s.rflags &= ~spec::rflags::RF;
    s.interruptibility &= ~(spec::interruptibility::STI | spec::interruptibility::MOV_SS);
}

// Sets RIP to the instruction that could not complete; its registers are exact.
void Engine::fault_in_block(u64 host_address, u16 index)
{
    const Block* block = cache_->containing(host_address);
    CHECK(block && index < block->insns.size());
    const GuestInsn& insn = block->insns[index];
    CpuState& s = frame_.state;
    s.rip = frame_.page_gva + insn.offset;
    if (!s.code64())
        s.rip = static_cast<u32>(s.rip);
    if (s.rip != first_rip_)
        past_first();
    if (index > 0 && block->insns[index - 1u].sti)
        shadow_behind_sti();
    last_bytes_ = std::span(block->bytes).subspan(insn.offset - block->insns.front().offset, insn.length);
    frame_.exit_code = static_cast<u64>(ExitCode::fault);
}

Result<SlowResult, Fault> Engine::access(Gva gva, const AccessInfo& info)
{
    const Access access = info.write ? Access::write : Access::read;
    const Purpose purpose = info.stack ? Purpose::stack : Purpose::data;
    constexpr u8 kErrorSummary = 0x80; // of FSW; the state is in the image while C++ runs
    if (info.x87 && (frame_.xsave->bytes[2] & kErrorSummary))
        return fail(raise(Vector::MF, 0));
    if (info.aligned && (gva.value() & (info.size - 1u)))
        return fail(raise(Vector::GP, 0));
    const bool checks_alignment = (frame_.state.rflags & spec::rflags::AC) &&
                                  (frame_.state.cr0 & spec::cr0::AM) && frame_.state.cpl() == 3;
    if (checks_alignment && info.size <= 8 && std::has_single_bit(info.size) &&
        (gva.value() & (info.size - 1u)))
        return fail(raise(Vector::AC, 0));
    mmu_.watch(gva, info.size, access);
    const u64 here = kPageSize - gva.page_offset();
    if (info.size <= here)
        return SlowResult{.host = TRY(mmu_.translate(gva, access, purpose)).value(), .skip = 0};
    if (info.locked) { // before the lookups: while this waits, others may take back what they found
        stir();        // meanwhile, what others have asked for is done
        port_.stop_others();
        others_stopped_ = true;
    }
    const Hpa first = TRY(mmu_.translate(gva, access, purpose));
    const Hpa second = TRY(mmu_.translate(gva + here, access, purpose));
    if (second.value() == first.value() + here) { // neighbours in the host too
        resume_others();
        return SlowResult{.host = first.value(), .skip = 0};
    }
    return bounce(first, second, gva, info);
}

void Engine::resume_others()
{
    if (std::exchange(others_stopped_, false))
        port_.resume_others();
}

// SDM: "Interruptibility State": a block goes on behind STI as if nothing were shadowed, unless the next
// instruction leaves it.
void Engine::shadow_behind_sti()
{
    if (!(frame_.before_sti & spec::rflags::IF))
        frame_.state.interruptibility |= spec::interruptibility::STI;
}

// Those that the guest has left in the host's.
void Engine::take_flags()
{
    u64& flags = frame_.state.rflags;
    flags = (flags & ~spec::rflags::kArithmetic) | (frame_.host_flags & spec::rflags::kArithmetic);
}

SlowResult Engine::slow_access(Frame* frame, u64 gva, u32 packed, u64 return_address)
{
    Engine& engine = *running_;
    (void)frame;
    const AccessInfo info = AccessInfo::unpack(packed);
    engine.in_access_ = return_address;
    engine.access_index_ = info.index;
    const Result<SlowResult, Fault> result = engine.access(Gva(gva), info);
    engine.in_access_ = 0;
    if (result) [[likely]]
        return result.value();
    engine.resume_others();
    engine.fault_in_block(return_address, info.index);
    engine.take_flags();
    return engine.fault_last(result.error());
}

} // namespace seamless::cpu
