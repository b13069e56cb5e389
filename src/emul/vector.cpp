// SPDX-License-Identifier: Apache-2.0
// XMM and MMX registers as operands of moves. SDM: "FXSAVE", "Effect of MMX Instructions on x87 State".
#include <cstring>

#include "emul/emulator.h"

namespace seamless::emul {

using namespace spec;

namespace {

// The layout of FXSAVE.
constexpr unsigned kStatus = 2, kTags = 4, kMmx0 = 32, kXmm0 = 160;
constexpr u16 kTop = static_cast<u16>(bits(13, 11)), kErrorSummary = static_cast<u16>(bit(7));

bool is_xmm(ZydisRegister r) { return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_XMM; }

unsigned offset_in_fxsave(ZydisRegister r)
{
    const auto n = static_cast<unsigned>(ZydisRegisterGetId(r));
    return (is_xmm(r) ? kXmm0 : kMmx0) + 16 * n;
}

} // namespace

bool Emulator::is_vector(const ZydisDecodedOperand& operand)
{
    return operand.type == ZYDIS_OPERAND_TYPE_REGISTER &&
           (is_xmm(operand.reg.value) || ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_MMX);
}

u16 Emulator::fpu_word(unsigned offset)
{
    u8 bytes[2];
    cpu_.read_fpu(offset, bytes);
    return static_cast<u16>(bytes[0] | bytes[1] << 8);
}

void Emulator::set_fpu_word(unsigned offset, u16 value)
{
    const u8 bytes[2] = {static_cast<u8>(value), static_cast<u8>(value >> 8)};
    cpu_.write_fpu(offset, bytes);
}

// Any MMX instruction makes all tags valid and register 0 the top.
void Emulator::enter_mmx()
{
    set_fpu_word(kStatus, static_cast<u16>(fpu_word(kStatus) & ~kTop));
    const u8 valid[1] = {0xff};
    cpu_.write_fpu(kTags, valid);
}

bool Emulator::x87_exception_pending() { return fpu_word(kStatus) & kErrorSummary; }

Emulator::Wide Emulator::read_vector(ZydisRegister r)
{
    u8 bytes[16] = {};
    cpu_.read_fpu(offset_in_fxsave(r), {bytes, is_xmm(r) ? 16u : 8u});
    Wide value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

void Emulator::write_vector(ZydisRegister r, const Wide& value)
{
    u8 bytes[16];
    std::memcpy(bytes, &value, sizeof value);
    if (is_xmm(r)) {
        cpu_.write_fpu(offset_in_fxsave(r), bytes);
        return;
    }
    bytes[8] = bytes[9] = 0xff; // the exponent of a register that holds no number
    cpu_.write_fpu(offset_in_fxsave(r), {bytes, 10});
}

// SDM: the exceptions of "Type 1" to "Type 4" instructions and of MMX.
Result<void, X86Emul> Emulator::check_vector_use()
{
    const u64 cr0 = cpu_.cr0();
    const bool sse = row_->form & kSse;
    if ((cr0 & cr0::EM) || (sse && !(cpu_.cr4() & cr4::OSFXSR)))
        return raise(Vector::UD);
    if (cr0 & cr0::TS)
        return raise(Vector::NM);
    if (!sse && x87_exception_pending())
        return raise(Vector::MF);
    return {};
}

} // namespace seamless::emul
