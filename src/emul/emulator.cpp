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

// LOCK where it is not allowed is #UD, of an instruction that could be emulated without it.
bool Emulator::is_lockable_without_lock() const
{
    constexpr u8 kLock = 0xf0;
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> rest{};
    const auto lock = std::find(bytes_.begin(), bytes_.begin() + fetched_, kLock);
    const auto end = std::copy(lock == bytes_.begin() + fetched_ ? lock : lock + 1, bytes_.begin() + fetched_,
                               std::copy(bytes_.begin(), lock, rest.begin()));
    const std::size_t length = static_cast<std::size_t>(end - rest.begin());
    decode::Instruction insn;
    return length < fetched_ &&
           decode::decode({rest.data(), length}, mode_, insn) == decode::DecodeStatus::ok && find_row(insn);
}

Result<void, X86Emul> Emulator::decode_into(Decoded& decoded)
{
    decoded.row = nullptr;
    for (;;) {
        const decode::DecodeStatus status = decode::decode({bytes_.data(), fetched_}, mode_, decoded.insn);
        if (status == decode::DecodeStatus::truncated && fetched_ < bytes_.size()) {
            TRY(fetch_more());
            continue;
        }
        if (status == decode::DecodeStatus::ok)
            break;
        if (is_lockable_without_lock())
            return raise(Vector::UD);
        return fail(X86EMUL_UNHANDLEABLE);
    }
    fetched_ = decoded.insn.length();
    decoded.mode = mode_;
    decoded.row = find_row(decoded.insn);
    if (!decoded.row)
        return fail(X86EMUL_UNHANDLEABLE);
    decoded.repeat_prefix = decoded.row->form & kString ? repeat_prefix(decoded.insn.z) : u8{0};
    return {};
}

Result<void, X86Emul> Emulator::fetch_and_decode(std::span<const u8> known)
{
    fetched_ = std::min(known.size(), bytes_.size());
    std::copy_n(known.begin(), fetched_, bytes_.begin());
    if (fetched_ == 0)
        TRY(fetch_more());
    Decoded& decoded = decoded_.at(rip_);
    if (decoded.is({bytes_.data(), fetched_}, mode_))
        fetched_ = decoded.insn.length();
    else
        TRY(decode_into(decoded));
    insn_ = &decoded.insn;
    row_ = decoded.row;
    repeat_prefix_ = decoded.repeat_prefix;
    return {};
}

Emulation Emulator::decode(std::span<const u8> known)
{
    rip_ = cpu_.rip();
    mode_ = code_size(cpu_);
    row_ = nullptr;
    exception_ = retired_ = false;
    reads_.at = reads_.end = 0;
    port_.at = port_.end = 0;
    const auto done = fetch_and_decode(known);
    exception_ = !done && done.error() == X86EMUL_PROPAGATE_FAULT;
    return done ? Emulation::OK : Emulation::FAILED;
}

Result<void, X86Emul> Emulator::at_intercept_point(InterceptStage stage)
{
    if (!cpu_.in_guest_mode())
        return {};
    const X86Emul answer = cpu_.check_intercept(
        {.stage = stage, .rip = rip_, .next_rip = rip_ + insn_->length(), .insn = insn()});
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    return {};
}

void Emulator::finish(u64 rip, u64 rflags_value)
{
    regs_.store();
    new_rip_ = mode_ == decode::CodeSize::bits64 ? rip : static_cast<u32>(rip);
    new_rflags_ = rflags_value;
    retired_ = true;
}

bool Emulator::real_or_virtual_8086() const
{
    return !(cpu_.cr0() & cr0::PE) || (cpu_.rflags() & rflags::VM);
}

unsigned Emulator::cpl() const
{
    if (real_or_virtual_8086())
        return cpu_.rflags() & rflags::VM ? 3 : 0;
    return segment_ar::dpl(cpu_.segment(Seg::ss).ar);
}

// The exceptions that do not depend on operands, in KVM's order.
Result<void, X86Emul> Emulator::check_exceptions()
{
    const u32 form = row_->form;
    if (form & (kSse | kMmx))
        TRY(check_vector_use());
    TRY(at_intercept_point(InterceptStage::PRE_EXCEPT));
    if ((form & kProtected) && real_or_virtual_8086())
        return raise(Vector::UD);
    if ((form & kPrivileged) && cpl() != 0)
        return raise(Vector::GP);
    if ((form & kUmip) && (cpu_.cr4() & cr4::UMIP) && cpl() != 0)
        return raise(Vector::GP);
    if ((form & kFpu) && (cpu_.cr0() & (cr0::TS | cr0::EM)))
        return raise(Vector::NM);
    return at_intercept_point(InterceptStage::POST_EXCEPT);
}

Result<void, X86Emul> Emulator::compute(Operation& op)
{
    if (row_->step)
        TRY(row_->step(*this, op));
    else
        row_->execute(op);
    if (op.divide_error)
        return raise(Vector::DE);
    return {};
}

Result<void, X86Emul> Emulator::run()
{
    const u64 flags = cpu_.rflags();
    next_rip_ = rip_ + insn_->length();
    TRY(check_exceptions());
    if (repeated() && regs_.read(Gpr::rcx, insn_->z.address_width / 8u) == 0) {
        finish(next_rip_, flags & ~rflags::RF);
        return {};
    }
    Operation op{.rflags = flags};
    elements_ = 1;
    TRY(read_operands(op));
    TRY(at_intercept_point(InterceptStage::POST_MEMACCESS));
    TRY(compute(op));
    TRY(write_operands(op));
    if (row_->form & kString)
        advance_string();
    // As in KVM, a repetition that has counted down to zero retires when it is executed once more.
    const bool more = repeated() && !count_down(op.rflags);
    finish(more ? rip_ : next_rip_, more ? op.rflags | rflags::RF : op.rflags & ~rflags::RF);
    again_ = more && go_on_at_once();
    return {};
}

Emulation Emulator::execute()
{
    exception_ = retired_ = again_ = false;
    if (!row_) // a completion without anything decoded
        return Emulation::FAILED;
    regs_.forget();
    reads_.at = 0; // what was read before is read from memory of the passes
    const auto done = run();
    if (done) {
        reads_.at = reads_.end = 0;
        return again_ ? Emulation::RESTART : Emulation::OK;
    }
    exception_ = done.error() == X86EMUL_PROPAGATE_FAULT;
    if (done.error() == X86EMUL_INTERCEPTED)
        return Emulation::INTERCEPTED;
    return done.error() == X86EMUL_UNHANDLEABLE ? Emulation::FAILED : Emulation::OK;
}

} // namespace seamless::emul
