// SPDX-License-Identifier: Apache-2.0
// String instructions: their pointers, their repetition, and the ports of INS and OUTS.
#include <algorithm>
#include <cstring>

#include "emul/emulator.h"

namespace seamless::emul {

using namespace spec;

namespace {

constexpr u8 kRepne = 0xf2;
constexpr u64 kPage = 4096;

} // namespace

// REP INS reads ahead: as many elements as memory up to the end of the page could hold, were they bytes. That
// is KVM's rule.
Result<void, X86Emul> Emulator::refill_port_cache(u16 port, unsigned size)
{
    const u64 count = repeated() ? regs_.read(Gpr::rcx, insn_->z.address_width / 8u) : 1;
    const u64 at = regs_.read(Gpr::rdi, 8) % kPage;
    const u64 in_page = cpu_.rflags() & rflags::DF ? at : kPage - at;
    const u64 wanted = std::max<u64>(std::min({in_page, port_.data.size() / size, count}), 1);
    port_.at = port_.end = 0;
    const X86Emul answer = cpu_.pio_in(port, size, {port_.data.data(), wanted * size});
    if (answer != X86EMUL_CONTINUE)
        return fail(answer);
    port_.end = wanted * size;
    return {};
}

// Upwards, all that was read ahead goes to memory at once; write_ahead() writes what lies behind this
// element.
Result<u64, X86Emul> Emulator::read_port(unsigned size)
{
    if (port_.at == port_.end)
        TRY(refill_port_cache(static_cast<u16>(regs_.read(Gpr::rdx, 2)), size));
    u64 value = 0;
    std::memcpy(&value, port_.data.data() + port_.at, size);
    if (repeated() && !(cpu_.rflags() & rflags::DF))
        elements_ = static_cast<unsigned>((port_.end - port_.at) / size);
    return value;
}

Result<void, X86Emul> Emulator::write_ahead(unsigned size)
{
    const unsigned bytes = elements_ * size;
    const u64 linear = TRY(linear_of(insn_->operands[0], bytes, true));
    TRY(write_memory({.linear = linear, .sole = has_sole_memory_operand()},
                     {port_.data.data() + port_.at, bytes}));
    port_.at += bytes;
    return {};
}

// SI, DI: the elements on, in the direction of DF.
void Emulator::advance_string()
{
    const unsigned width = insn_->z.address_width / 8u;
    for (const ZydisDecodedOperand& operand : insn_->all_operands()) {
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        const u64 distance = operand.size / 8u * u64{elements_};
        const u64 step = cpu_.rflags() & rflags::DF ? u64{0} - distance : distance;
        const ZydisRegister base = operand.mem.base;
        const bool source =
            base == ZYDIS_REGISTER_SI || base == ZYDIS_REGISTER_ESI || base == ZYDIS_REGISTER_RSI;
        const Gpr index = source ? Gpr::rsi : Gpr::rdi;
        regs_.write(index, width, regs_.read(index, width) + step);
    }
}

// Counts the elements of a repeated instruction; true if ZF ends it.
bool Emulator::count_down(u64 flags)
{
    const unsigned width = insn_->z.address_width / 8u;
    regs_.write(Gpr::rcx, width, regs_.read(Gpr::rcx, width) - elements_);
    const bool zero = flags & rflags::ZF;
    return (row_->form & kUntilZf) && (repeat_prefix_ == kRepne ? zero : !zero);
}

// Every so often the guest is entered in the middle, so that interrupts are not kept waiting: where what was
// read ahead is used up, or else every 1024 elements.
bool Emulator::go_on_at_once() const
{
    if (port_.end != 0)
        return port_.at != port_.end;
    return (regs_.read(Gpr::rcx, 8) & 0x3ff) != 0;
}

} // namespace seamless::emul
