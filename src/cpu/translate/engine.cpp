// SPDX-License-Identifier: Apache-2.0
// Finds or translates the block at RIP, runs it, and says why it stopped.
#include "cpu/translate/engine.h"

#include <asm/prctl.h>
#include <cstring>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu/cpuid.h"

namespace seamless::cpu {
namespace {

using decode::CodeSize;
using decode::DecodeStatus;
using decode::Execution;
using decode::Instruction;
using spec::Vector;

constexpr u64 kCacheBytes = 32 << 20;
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

// Instruction sets this processor offers, by ZydisISASet. LZCNT and TZCNT fall back to what they were by
// themselves.
bool offered(ZydisISASet isa)
{
    static const auto table = [] {
        std::array<bool, ZYDIS_ISA_SET_MAX_VALUE + 1> t{};
        for (const decode::IsaFeature& row : decode::isa_features()) {
            const CpuidResult r = native_cpuid(row.leaf, row.subleaf);
            const u32 regs[] = {r.eax, r.ebx, r.ecx, r.edx};
            t[row.isa] = row.reg < 0 || test(regs[row.reg], row.bit);
        }
        t[ZYDIS_ISA_SET_LZCNT] = true;
        return t;
    }();
    return table[isa];
}

// The arithmetic flags an instruction may read, and those it writes whatever its operands are.
struct FlagUse {
    u64 read = spec::rflags::kArithmetic;
    u64 written = 0;
};

FlagUse flag_use(const Instruction& insn)
{
    if (insn.execution != Execution::native || !insn.z.cpu_flags)
        return {.read = insn.execution == Execution::native || insn.execution == Execution::silent ||
                                insn.operation == decode::Operation::lea
                            ? 0
                            : spec::rflags::kArithmetic};
    const ZydisAccessedFlags& f = *insn.z.cpu_flags;
    const bool by_count =
        insn.z.meta.category == ZYDIS_CATEGORY_SHIFT || insn.z.meta.category == ZYDIS_CATEGORY_ROTATE;
    // A shift by zero leaves the flags alone.
    const u64 written = by_count ? 0 : u64{f.modified | f.set_0 | f.set_1};
    return {.read = f.tested & spec::rflags::kArithmetic, .written = written & spec::rflags::kArithmetic};
}

} // namespace

thread_local Engine* Engine::running_ = nullptr;

Result<std::unique_ptr<Engine>, Message> Engine::create(EngineMode mode, Frame& frame, Mmu& mmu,
                                                        FaultRecord& record)
{
    auto cache = TRY(CodeCache::create(kCacheBytes));
    install_signal_handlers();
    return std::unique_ptr<Engine>(new Engine(mode, frame, mmu, record, std::move(cache)));
}

Engine::Engine(EngineMode mode, Frame& frame, Mmu& mmu, FaultRecord& record, std::unique_ptr<CodeCache> cache)
    : mode_(mode),
      frame_(frame),
      mmu_(mmu),
      record_(record),
      cache_(std::move(cache)),
      max_insns_(mode == EngineMode::step ? 1 : kMaxBlockInsns)
{
    stubs_ = emit_stubs(cache_->room(), cache_->room_address(), slow_access, commit_bounce);
    cache_->reserve(align_up<u32>(stubs_.size, 64));
    options_.inline_tlb = mode == EngineMode::full;
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

void Engine::drop_code() { cache_->drop_blocks(); }

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
    return mode;
}

Result<unsigned, Fault> Engine::fetch(Gva gva, std::span<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> out)
{
    const Hpa first = TRY(mmu_.translate_fetch(gva));
    const unsigned here = static_cast<unsigned>(std::min<u64>(out.size(), kPageSize - gva.page_offset()));
    mem::copy_from(out.first(here), first);
    return here;
}

// The second page is touched only if the instruction reaches into it.
Result<Instruction, Fault> Engine::fetch_and_decode(Gva gva, CodeSize size)
{
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    last_bytes_ = {};
    unsigned count = TRY(fetch(gva, bytes));
    Instruction insn;
    DecodeStatus status = decode::decode({bytes.data(), count}, size, insn);
    if (status == DecodeStatus::truncated && count < bytes.size()) {
        const Hpa second = TRY(mmu_.translate_fetch(gva + count));
        mem::copy_from({bytes.data() + count, bytes.size() - count}, second);
        count = bytes.size();
        status = decode::decode(bytes, size, insn);
    }
    if (status != DecodeStatus::ok) {
        std::memcpy(fetched_, bytes.data(), count);
        last_bytes_ = {fetched_, count};
        return fail(raise(status == DecodeStatus::truncated ? Vector::GP : Vector::UD, 0));
    }
    if (!offered(insn.z.meta.isa_set))
        insn.execution = Execution::undefined;
    return insn;
}

bool Engine::still_valid(const Block& block, Hpa start) const
{
    if (start.page_offset() + block.bytes.size() > kPageSize)
        return false; // the second page may be another one by now
    return std::memcmp(mem::host_ptr(start), block.bytes.data(), block.bytes.size()) == 0;
}

Result<Block*, Fault> Engine::find_or_translate()
{
    const CpuState& s = frame_.state;
    const ModeWord mode = mode_word();
    const u64 base = mode.code == CodeSize::bits64 ? 0 : s.segment(spec::Seg::cs).base;
    const Gva gva(mode.code == CodeSize::bits64 ? s.rip : static_cast<u32>(s.rip + base));
    frame_.page_gva = s.rip - gva.page_offset();
    last_bytes_ = {};
    const Hpa start = TRY(mmu_.translate_fetch(gva));
    Block* block = cache_->find(start, mode.key());
    if (block && still_valid(*block, start)) [[likely]]
        return block;
    if (block)
        cache_->remove(*block);
    return translate(start, mode);
}

Result<Block*, Fault> Engine::translate(Hpa start, const ModeWord& mode)
{
    if (cache_->full())
        cache_->drop_blocks();
    const CpuState& s = frame_.state;
    const u64 base = mode.code == CodeSize::bits64 ? 0 : s.segment(spec::Seg::cs).base;
    const Gva gva(mode.code == CodeSize::bits64 ? s.rip : static_cast<u32>(s.rip + base));
    auto block = std::make_unique<Block>();
    block->start = start;
    block->key = mode.key();

    std::vector<Instruction> insns;
    u64 at = gva.page_offset();
    while (insns.size() < max_insns_ && at < kPageSize) {
        Result<Instruction, Fault> insn = fetch_and_decode(gva.page() + at, mode.code);
        if (!insn && insns.empty())
            return fail(insn.error());
        if (!insn)
            break; // raised if it is reached
        if (at + insn.value().length() > kPageSize && !insns.empty())
            break; // an instruction on two pages is a block of its own
        at += insn.value().length();
        const bool ends = insn.value().execution == Execution::system ||
                          insn.value().execution == Execution::undefined ||
                          insn.value().z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
        insns.push_back(std::move(insn).value());
        if (ends)
            break;
    }

    std::vector<bool> live(insns.size());
    u64 flags = spec::rflags::kArithmetic;
    for (std::size_t i = insns.size(); i-- > 0;) {
        const FlagUse use = flag_use(insns[i]);
        flags = (flags & ~use.written) | use.read;
        live[i] = flags != 0;
    }

    Assembler assembler(cache_->room(), cache_->room_address());
    Emitter emitter(assembler, stubs_, mode, options_, *block);
    u64 offset = gva.page_offset();
    bool open = true;
    for (std::size_t i = 0; i < insns.size(); ++i) {
        const Instruction& insn = insns[i];
        block->insns.push_back({static_cast<u16>(offset), insn.length()});
        block->bytes.insert(block->bytes.end(), insn.bytes, insn.bytes + insn.length());
        open = emitter.emit(insn, static_cast<u16>(i), static_cast<u16>(offset), live[i]);
        offset += insn.length();
    }
    if (open)
        emitter.end_at(static_cast<u16>(offset));
    emitter.finish();
    CHECK(!assembler.overflowed());
    if (insns.back().execution == Execution::system)
        block->system = std::make_unique<Instruction>(insns.back());
    block->host = reinterpret_cast<u8*>(cache_->room_address());
    block->host_size = assembler.offset();
    ++translations_;
    return &cache_->add(std::move(block));
}

Result<const Instruction*, Fault> Engine::run()
{
    Block* block = TRY(find_or_translate());
    if (block->insns.size() == 1 && block->system) { // nothing to run before it
        last_bytes_ = block->bytes;
        ++instructions_;
        return block->system.get();
    }
    CpuState& s = frame_.state;
    frame_.target = reinterpret_cast<u64>(block->host);
    frame_.host_flags = (s.rflags & spec::rflags::kArithmetic) | spec::rflags::FIXED1;
    stubs_.enter();
    s.rflags = (s.rflags & ~spec::rflags::kArithmetic) | (frame_.host_flags & spec::rflags::kArithmetic);
    instructions_ += block->insns.size();

    switch (static_cast<ExitCode>(frame_.exit_code & 0xff)) {
    case ExitCode::ended:
        return nullptr;
    case ExitCode::system:
        last_bytes_ = {block->system->bytes, block->system->length()};
        return block->system.get();
    case ExitCode::fault:
        return fail(pending_fault_);
    case ExitCode::raise:
        last_bytes_ = std::span(block->bytes).last(block->insns.back().length);
        return fail(raise(static_cast<Vector>(frame_.exit_code >> 8), 0));
    }
    CHECK(false);
    return nullptr;
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
    last_bytes_ = std::span(block->bytes).subspan(insn.offset - block->insns.front().offset, insn.length);
    frame_.exit_code = static_cast<u64>(ExitCode::fault);
}

Result<SlowResult, Fault> Engine::access(Gva gva, const AccessInfo& info)
{
    const Access access = info.write ? Access::write : Access::read;
    const Purpose purpose = info.stack ? Purpose::stack : Purpose::data;
    const Hpa first = TRY(mmu_.translate(gva, access, purpose));
    const u64 here = kPageSize - gva.page_offset();
    if (info.size <= here)
        return SlowResult{.host = first.value(), .skip = 0};
    const Hpa second = TRY(mmu_.translate(gva + here, access, purpose));
    Bounce& b = frame_.bounce;
    b.at = b.bytes + (gva.value() & 63);
    b.first = mem::host_ptr<u8>(first);
    b.second = mem::host_ptr<u8>(second);
    b.first_size = static_cast<u32>(here);
    b.size = info.size;
    CHECK(b.size <= kBounceBytes);
    mem::copy_from({b.at, b.first_size}, first);
    mem::copy_from({b.at + b.first_size, b.size - b.first_size}, second);
    return SlowResult{.host = reinterpret_cast<u64>(b.at), .skip = kBounceSkip};
}

SlowResult Engine::slow_access(Frame* frame, u64 gva, u32 packed, u64 return_address)
{
    Engine& engine = *running_;
    (void)frame;
    const AccessInfo info = AccessInfo::unpack(packed);
    const Result<SlowResult, Fault> result = engine.access(Gva(gva), info);
    if (result) [[likely]]
        return result.value();
    engine.pending_fault_ = result.error();
    engine.fault_in_block(return_address, info.index);
    return {.host = 0, .skip = 0};
}

SlowResult Engine::commit_bounce(Frame* frame, u64, u32, u64)
{
    const Bounce& b = frame->bounce;
    std::memcpy(b.first, b.at, b.first_size);
    std::memcpy(b.second, b.at + b.first_size, b.size - b.first_size);
    return {.host = 1, .skip = 0};
}

} // namespace seamless::cpu
