// SPDX-License-Identifier: Apache-2.0
// Builds blocks: which instructions belong to one, which flags live between them, and the host code for all
// of it.
#include <algorithm>
#include <array>
#include <cstring>

#include "cpu/cpuid.h"
#include "cpu/translate/engine.h"
#include "cpu/translate/in_block.h"

namespace seamless::cpu {
namespace {

using decode::CodeSize;
using decode::DecodeStatus;
using decode::Execution;
using decode::Instruction;
using spec::Vector;

constexpr unsigned kFlagLookahead = 6;

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
    if (insn.execution == Execution::silent)
        return {.read = 0, .written = 0};
    if (insn.execution == Execution::system && leaves_arithmetic_flags(insn))
        return {.read = 0, .written = 0};
    if (insn.execution == Execution::system || insn.execution == Execution::undefined)
        return {}; // C++ reads them all
    if (!insn.z.cpu_flags)
        return {.read = 0, .written = 0};
    const ZydisAccessedFlags& f = *insn.z.cpu_flags;
    const bool by_count =
        insn.z.meta.category == ZYDIS_CATEGORY_SHIFT || insn.z.meta.category == ZYDIS_CATEGORY_ROTATE;
    // A shift by zero leaves the flags alone.
    const u64 written = by_count ? 0 : u64{f.modified | f.set_0 | f.set_1};
    return {.read = f.tested & spec::rflags::kArithmetic, .written = written & spec::rflags::kArithmetic};
}

// Only where RFLAGS.AC is clear does SMAP keep this set apart.
bool ac_known_clear(const ModeWord& mode)
{
    return mode.cpl == 0 && static_cast<TlbSet>(mode.tlb_set) == TlbSet::supervisor;
}

// Other than by going somewhere else.
bool ends_block(const Instruction& insn, const EmitOptions& options)
{
    return insn.execution == Execution::undefined ||
           (insn.execution == Execution::system && !(options.calls && goes_on_behind(insn)));
}

} // namespace

EmitOptions Engine::options_for(const ModeWord& mode) const
{
    return mode.single || mode.alignment ? EmitOptions{.count = options_.count} : options_;
}

Result<unsigned, Fault> Engine::fetch(Gva gva, std::span<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> out)
{
    const Hpa first = TRY(mmu_.translate_fetch(gva));
    const unsigned here = static_cast<unsigned>(std::min<u64>(out.size(), kPageSize - gva.page_offset()));
    if (!mem::try_copy_from(out.first(here), first)) [[unlikely]]
        return fail(port_.host_memory_gone(first));
    return here;
}

// The second page is touched only if the instruction reaches into it, and never for a look ahead: a fetch can
// fault, and a fault has effects.
Result<Instruction, Fault> Engine::fetch_and_decode(Gva gva, CodeSize size, bool look_ahead)
{
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    unsigned count = TRY(fetch(gva, bytes));
    Instruction insn;
    DecodeStatus status = decode::decode({bytes.data(), count}, size, insn);
    if (status == DecodeStatus::truncated && count < bytes.size() && !look_ahead) {
        const Hpa second = TRY(mmu_.translate_fetch(gva + count));
        if (mode_ == EngineMode::full)
            port_.protect_code(second.value()); // before the bytes are read
        second_ = second;
        if (!mem::try_copy_from({bytes.data() + count, bytes.size() - count}, second)) [[unlikely]]
            return fail(port_.host_memory_gone(second));
        count = bytes.size();
        status = decode::decode(bytes, size, insn);
    }
    if (status != DecodeStatus::ok) {
        if (!look_ahead) {
            std::memcpy(fetched_, bytes.data(), count);
            last_bytes_ = {fetched_, count};
        }
        return fail(raise(status == DecodeStatus::truncated ? Vector::GP : Vector::UD, 0));
    }
    // DEVIATION: 16-bit code, and 16-bit addresses in 32-bit code, raise #UD.
    const bool narrow = size == CodeSize::bits16 || (insn.z.address_width == 16 && insn.memory());
    if (narrow || !offered(insn.z.meta.isa_set))
        insn.execution = Execution::undefined;
    return insn;
}

// The instructions of a block that starts at `gva`; none if the first one faults.
std::vector<Instruction> Engine::scan(Gva gva, const ModeWord& mode, Result<void, Fault>& first)
{
    std::vector<Instruction> insns;
    u64 at = gva.page_offset();
    const unsigned most = mode.single ? 1 : max_insns_;
    while (insns.size() < most && at < kPageSize) {
        if (mode.debug && !insns.empty() && debug_points_->stops_at((gva.page() + at).value()))
            break; // it begins a block, which is never entered
        Result<Instruction, Fault> insn = fetch_and_decode(gva.page() + at, mode.code, !insns.empty());
        if (!insn) {
            if (insns.empty())
                first = fail(insn.error());
            break; // otherwise raised when it is reached
        }
        if (at + insn.value().length() > kPageSize && !insns.empty())
            break; // an instruction on two pages is a block of its own
        if (insn.value().operation == decode::Operation::clac && ac_known_clear(mode))
            insn.value().execution = Execution::silent;
        at += insn.value().length();
        insns.push_back(std::move(insn).value());
        const Instruction& last = insns.back();
        if (ends_block(last, options_for(mode)) || unavailable(last, mode) ||
            last.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
            break;
    }
    return insns;
}

// Whether code at `offset` of the page may read an arithmetic flag before it writes it. Looks a few
// instructions ahead.
bool Engine::flags_live_at(Gva page, u64 offset, const ModeWord& mode)
{
    u64 live = spec::rflags::kArithmetic;
    for (unsigned i = 0; i < kFlagLookahead && offset < kPageSize - ZYDIS_MAX_INSTRUCTION_LENGTH; ++i) {
        const Result<Instruction, Fault> insn = fetch_and_decode(page + offset, mode.code, true);
        if (!insn)
            return true;
        const FlagUse use = flag_use(insn.value());
        if (use.read & live)
            return true;
        live &= ~use.written;
        if (live == 0)
            return false;
        if (insn.value().z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
            return true;
        offset += insn.value().length();
    }
    return true;
}

Result<Block*, Fault> Engine::translate(Hpa start, const ModeWord& mode)
{
    if (cache_->full())
        drop_all_code();
    if (mode_ == EngineMode::full)
        port_.protect_code(start.page().value()); // before the bytes are read
    const CpuState& s = frame_.state;
    const u64 base = mode.code == CodeSize::bits64 ? 0 : s.segment(spec::Seg::cs).base;
    const Gva gva(mode.code == CodeSize::bits64 ? s.rip : static_cast<u32>(s.rip + base));
    Result<void, Fault> first;
    second_ = {};
    const std::vector<Instruction> insns = scan(gva, mode, first);
    if (!first)
        return fail(first.error());
    auto block = std::make_unique<Block>();
    block->start = start;
    block->second = second_;
    block->key = mode.key();
    if (mode.debug && std::ranges::find(debug_pages_, start.page().value()) == debug_pages_.end())
        debug_pages_.push_back(start.page().value());
    emit_block(*block, insns, mode, gva.page_offset());
    ++translations_;
    return &cache_->add(std::move(block));
}

void Engine::emit_block(Block& block, std::span<const Instruction> insns, const ModeWord& mode, u64 offset)
{
    u64 end = offset;
    for (const Instruction& insn : insns)
        end += insn.length();
    // What the code behind the block reads of the flags. Unknown behind an indirect jump and in another page.
    const Gva page(frame_.page_gva); // linear and RIP are the same in 64-bit code
    const Instruction& last = insns.back();
    const auto target_live = [&](u64 at) { return at >= kPageSize || flags_live_at(page, at, mode); };
    bool live_out = true;
    bool target_flags = true;
    bool behind_flags = true;
    const bool unseen = mode.code == CodeSize::bits64 && !mode.debug; // a debugger looks at flags
    if (options_.inline_tlb && options_.dead_flags && unseen) {
        const bool call = last.operation == decode::Operation::call;
        const bool jcc = last.operation == decode::Operation::jcc;
        const bool direct = jcc || ((last.operation == decode::Operation::jmp || call) &&
                                    last.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
        const bool falls =
            last.z.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE && !ends_block(last, options_for(mode));
        target_flags = !direct || target_live(end + last.operands[0].imm.value.u);
        behind_flags = (falls || jcc) && target_live(end);
        live_out = (!falls && target_flags) || behind_flags;
    }
    std::vector<bool> live(insns.size());
    u64 flags = live_out ? spec::rflags::kArithmetic : 0;
    for (std::size_t i = insns.size(); i-- > 0;) {
        const FlagUse use = flag_use(insns[i]);
        flags = (flags & ~use.written) | use.read;
        live[i] = flags != 0 || !options_.dead_flags;
    }

    Assembler assembler(cache_->memory(), cache_->address());
    const CodeRange room = cache_->room(), cold_room = cache_->cold_room();
    assembler.seek(room.begin, room.end);
    const EmitOptions options = options_for(mode);
    Emitter emitter(assembler, stubs_, mode, options, block);
    block.extended_state = std::ranges::any_of(insns, [](const Instruction& insn) {
        return insn.execution == Execution::native && insn.uses_extended_state();
    });
    emitter.set_flags_live_out(target_flags);
    emitter.emit(insns, live, static_cast<u16>(offset));
    block.code = {room.begin, assembler.offset()};
    assembler.seek(cold_room.begin, cold_room.end);
    emitter.finish();
    block.cold = {cold_room.begin, assembler.offset()};
    CHECK(!assembler.overflowed());
}

} // namespace seamless::cpu
