// SPDX-License-Identifier: Apache-2.0
// The phases of an instruction: fetch, decode, read, execute, write, and what is left for the next pass.
#include "emul/emulator.h"

#include <algorithm>

namespace seamless::emul {

using namespace spec;

namespace {

constexpr u8 kRepne = 0xf2;

decode::CodeSize code_size(EmulatedCpu& cpu)
{
    const u32 ar = cpu.segment(Seg::cs).ar;
    if ((cpu.efer() & efer::LMA) && (ar & segment_ar::L))
        return decode::CodeSize::bits64;
    const bool virtual_8086 = (cpu.cr0() & cr0::PE) && (cpu.rflags() & rflags::VM);
    return !virtual_8086 && (ar & segment_ar::DB) ? decode::CodeSize::bits32 : decode::CodeSize::bits16;
}

// The last of F2 and F3 counts.
u8 repeat_prefix(const ZydisDecodedInstruction& z)
{
    u8 found = 0;
    for (unsigned i = 0; i < z.raw.prefix_count; ++i)
        if (z.raw.prefixes[i].value == kRepne || z.raw.prefixes[i].value == 0xf3)
            found = z.raw.prefixes[i].value;
    return found;
}

} // namespace

base::Failure<X86Emul> Emulator::raise(Vector vector, u32 error_code)
{
    cpu_.queue_exception(vector, error_code);
    return fail(X86EMUL_PROPAGATE_FAULT);
}

// The bytes up to the end of the page; the next page is touched only if the instruction goes on there.
Result<void, X86Emul> Emulator::fetch_more()
{
    constexpr u64 kPage = 4096;
    const u64 offset = rip_ + fetched_;
    const u64 linear = TRY(linearize(
        Seg::cs, mode_ == decode::CodeSize::bits64 ? offset : static_cast<u32>(offset), 1, false, true));
    const std::size_t wanted = std::min<u64>(bytes_.size() - fetched_, kPage - linear % kPage);
    const X86Emul answer = cpu_.fetch(linear, {bytes_.data() + fetched_, wanted});
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    fetched_ += wanted;
    return {};
}

Result<void, X86Emul> Emulator::fetch_and_decode(std::span<const u8> known)
{
    fetched_ = std::min(known.size(), bytes_.size());
    std::copy_n(known.begin(), fetched_, bytes_.begin());
    if (fetched_ == 0)
        TRY(fetch_more());
    for (;;) {
        const decode::DecodeStatus status = decode::decode({bytes_.data(), fetched_}, mode_, insn_);
        if (status == decode::DecodeStatus::truncated && fetched_ < bytes_.size()) {
            TRY(fetch_more());
            continue;
        }
        if (status != decode::DecodeStatus::ok)
            return fail(X86EMUL_UNHANDLEABLE);
        break;
    }
    fetched_ = insn_.length();
    row_ = find_row(insn_);
    if (!row_)
        return fail(X86EMUL_UNHANDLEABLE);
    repeat_prefix_ = row_->form & kString ? repeat_prefix(insn_.z) : u8{0};
    return {};
}

Emulation Emulator::decode(std::span<const u8> known)
{
    rip_ = cpu_.rip();
    mode_ = code_size(cpu_);
    row_ = nullptr;
    exception_ = retired_ = false;
    reads_ = {};
    const auto done = fetch_and_decode(known);
    exception_ = !done && done.error() == X86EMUL_PROPAGATE_FAULT;
    return done ? Emulation::OK : Emulation::FAILED;
}

Result<void, X86Emul> Emulator::at_intercept_point(InterceptStage stage)
{
    if (!cpu_.in_guest_mode())
        return {};
    const X86Emul answer = cpu_.check_intercept(
        {.stage = stage, .rip = rip_, .next_rip = rip_ + insn_.length(), .insn = insn()});
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    return {};
}

void Emulator::finish(u64 rip, u64 rflags_value)
{
    regs_.store(cpu_);
    new_rip_ = mode_ == decode::CodeSize::bits64 ? rip : static_cast<u32>(rip);
    new_rflags_ = rflags_value;
    retired_ = true;
}

// SI, DI: one element on, in the direction of DF.
void Emulator::advance_string()
{
    const unsigned width = insn_.z.address_width / 8u;
    for (const ZydisDecodedOperand& operand : insn_.all_operands()) {
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        const u64 element = operand.size / 8u;
        const u64 step = cpu_.rflags() & rflags::DF ? u64{0} - element : element;
        const ZydisRegister base = operand.mem.base;
        const bool source =
            base == ZYDIS_REGISTER_SI || base == ZYDIS_REGISTER_ESI || base == ZYDIS_REGISTER_RSI;
        const Gpr index = source ? Gpr::rsi : Gpr::rdi;
        regs_.write(index, width, regs_.read(index, width) + step);
    }
}

// Counts one element of a repeated instruction; true if it was the last.
bool Emulator::repeat_ends(u64 flags)
{
    const unsigned width = insn_.z.address_width / 8u;
    const u64 left = regs_.read(Gpr::rcx, width) - 1;
    regs_.write(Gpr::rcx, width, left);
    const bool zero = flags & rflags::ZF;
    const bool by_flag = (row_->form & kUntilZf) && (repeat_prefix_ == kRepne ? zero : !zero);
    return truncate(left, width) == 0 || by_flag;
}

Result<void, X86Emul> Emulator::run()
{
    const u64 next = rip_ + insn_.length();
    u64 flags = cpu_.rflags();
    TRY(at_intercept_point(InterceptStage::PRE_EXCEPT));
    // Nothing here is privileged, and Zydis refused a LOCK that is not allowed: no exception lies between.
    TRY(at_intercept_point(InterceptStage::POST_EXCEPT));
    if (repeated() && regs_.read(Gpr::rcx, insn_.z.address_width / 8u) == 0) {
        finish(next, flags & ~rflags::RF);
        return {};
    }
    Operation op{.rflags = flags};
    TRY(read_operands(op));
    TRY(at_intercept_point(InterceptStage::POST_MEMACCESS));
    row_->execute(op);
    TRY(write_operands(op));
    flags = op.rflags;
    if (row_->form & kString)
        advance_string();
    const bool more = repeated() && !repeat_ends(flags);
    finish(more ? rip_ : next, more ? flags | rflags::RF : flags & ~rflags::RF);
    // Every so often the guest is entered in the middle, so that interrupts are not kept waiting.
    again_ = more && (regs_.read(Gpr::rcx, 8) & 0x3ff) != 0;
    return {};
}

Emulation Emulator::execute()
{
    exception_ = retired_ = again_ = false;
    if (!row_) // a completion without anything decoded
        return Emulation::FAILED;
    regs_.load(cpu_);
    reads_.at = 0;
    const auto done = run();
    if (done) {
        reads_ = {};
        return again_ ? Emulation::RESTART : Emulation::OK;
    }
    exception_ = done.error() == X86EMUL_PROPAGATE_FAULT;
    if (done.error() == X86EMUL_INTERCEPTED)
        return Emulation::INTERCEPTED;
    return done.error() == X86EMUL_UNHANDLEABLE ? Emulation::FAILED : Emulation::OK;
}

} // namespace seamless::emul
