// SPDX-License-Identifier: Apache-2.0
// Partial registers. SDM: "General-Purpose Registers in 64-Bit Mode".
#include "emul/registers.h"

namespace seamless::emul {

using spec::Gpr;

namespace {

bool is_high_byte(ZydisRegister r) { return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH; }

Gpr number_of(ZydisRegister r)
{
    if (is_high_byte(r))
        return static_cast<Gpr>(r - ZYDIS_REGISTER_AH);
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B) // they follow AH to BH in Zydis's numbering
        return static_cast<Gpr>(r - ZYDIS_REGISTER_SPL + 4);
    return static_cast<Gpr>(ZydisRegisterGetId(r));
}

unsigned bytes_of(ZydisRegister r)
{
    return static_cast<unsigned>(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r)) / 8;
}

} // namespace

void Registers::load(EmulatedCpu& cpu)
{
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        value_[i] = cpu.gpr(static_cast<Gpr>(i));
    changed_ = 0;
}

void Registers::store(EmulatedCpu& cpu) const
{
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        if (changed_ >> i & 1)
            cpu.set_gpr(static_cast<Gpr>(i), value_[i]);
}

u64 Registers::read(ZydisRegister r) const
{
    const u64 value = value_[static_cast<unsigned>(number_of(r))];
    return is_high_byte(r) ? field(value, 15, 8) : truncate(value, bytes_of(r));
}

void Registers::write(ZydisRegister r, u64 value)
{
    if (is_high_byte(r)) {
        const auto n = static_cast<unsigned>(number_of(r));
        write(number_of(r), 8, with_field(value_[n], 15, 8, value));
        return;
    }
    write(number_of(r), bytes_of(r), value);
}

void Registers::write(Gpr r, unsigned bytes, u64 value)
{
    const auto n = static_cast<unsigned>(r);
    u64& reg = value_[n];
    reg = bytes >= 4 ? truncate(value, bytes) : with_field(reg, bytes * 8 - 1, 0, value);
    changed_ |= 1u << n;
}

} // namespace seamless::emul
