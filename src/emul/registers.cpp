// SPDX-License-Identifier: Apache-2.0
// Partial registers. SDM: "General-Purpose Registers in 64-Bit Mode".
#include "emul/registers.h"

#include <bit>

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

u64& Registers::value(Gpr r) const
{
    const auto n = static_cast<unsigned>(r);
    if (!(known_ >> n & 1)) {
        value_[n] = cpu_.gpr(r);
        known_ |= 1u << n;
    }
    return value_[n];
}

void Registers::store() const
{
    for (u32 left = changed_; left != 0; left &= left - 1) {
        const auto n = static_cast<unsigned>(std::countr_zero(left));
        cpu_.set_gpr(static_cast<Gpr>(n), value_[n]);
    }
}

u64 Registers::read(ZydisRegister r) const
{
    const u64 whole = value(number_of(r));
    return is_high_byte(r) ? field(whole, 15, 8) : truncate(whole, bytes_of(r));
}

void Registers::write(ZydisRegister r, u64 to)
{
    const Gpr n = number_of(r);
    if (is_high_byte(r))
        write(n, 8, with_field(value(n), 15, 8, to));
    else
        write(n, bytes_of(r), to);
}

void Registers::write(Gpr r, unsigned bytes, u64 to)
{
    u64& reg = value(r);
    reg = bytes >= 4 ? truncate(to, bytes) : with_field(reg, bytes * 8 - 1, 0, to);
    changed_ |= 1u << static_cast<unsigned>(r);
}

} // namespace seamless::emul
